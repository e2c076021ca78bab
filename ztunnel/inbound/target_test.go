package inbound

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
)

func TestTarget(t *testing.T) {
	pod := []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:244::1")}
	for authority, want := range map[string]string{
		"10.244.1.1:8080":          "10.244.1.1:8080",
		"[fd00:244::1]:8080":       "[fd00:244::1]:8080",
		"[::ffff:10.244.1.1]:8080": "10.244.1.1:8080",
		"10.244.1.2:8080":          "400",
		"10.244.1.1:15001":         "400",
		"10.244.1.1:15006":         "400",
		"10.244.1.1:15008":         "400",
		"10.244.1.1:0":             "400",
		"10.244.1.1":               "400",
		"127.0.0.1:8080":           "400",
		"[::1]:8080":               "400",
		"[::ffff:127.0.0.1]:8080":  "400",
		"0.0.0.0:8080":             "400",
		"[::]:8080":                "400",
		"[fe80::1%eth0]:80":        "400",
		"localhost:8080":           "400",
		"cart.shop.svc:80":         "400",
		"":                         "400",
		"10.244.1.1:99999":         "400",
		"010.244.1.1:80":           "400",
		"10.244.1.1:80@evil":       "400",
		strings.Repeat("a", 1<<16): "400",
	} {
		got, f := target(authority, pod)
		text := got.String()
		if f != nil {
			if status(f) != 400 {
				t.Errorf("%.40q: status %d", authority, status(f))
			}
			if len(f.Cause) > 400 {
				t.Errorf("%.40q: cause of %d bytes", authority, len(f.Cause))
			}
			text = "400"
		}
		if text != want {
			t.Errorf("%.40q: got %s, want %s", authority, text, want)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	for header, want := range map[string]string{
		`for="10.0.0.1:4000"`:            "10.0.0.1:4000",
		`for="10.0.0.1:4000";host=cart`:  "10.0.0.1:4000",
		`by=x; For="[2001:db8::1]:4000"`: "[2001:db8::1]:4000",
		`for=10.0.0.1`:                   "10.0.0.1:0",
		`for="[2001:db8::1]"`:            "[2001:db8::1]:0",
		`for=10.0.0.1, for=10.0.0.2`:     "10.0.0.1:0",
		`for="[::ffff:10.0.0.1]:5"`:      "10.0.0.1:5",
		`for=_hidden`:                    "",
		`for=unknown`:                    "",
		`for=127.0.0.1`:                  "",
		`for="[::1]:80"`:                 "",
		`for=0.0.0.0`:                    "",
		`for=224.0.0.1`:                  "",
		`for="[fe80::1%25eth0]"`:         "",
		`host=cart`:                      "",
		``:                               "",
		`for`:                            "",
		`for=;for=10.0.0.1`:              "",
	} {
		got, ok := forwardedFor(header)
		text := ""
		if ok {
			text = got.String()
		}
		if text != want {
			t.Errorf("%s: got %q, want %q", header, text, want)
		}
	}
}

func TestOnlyWaypointsSpeakForOthers(t *testing.T) {
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "way"}
	way := &model.Workload{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "way", NativeTunnel: true}
	plain := &model.Workload{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "way"}
	other := id
	other.ServiceAccount = "front"
	for _, c := range []struct {
		at   *model.Workload
		id   identity.Identity
		want bool
	}{{way, id, true}, {way, other, false}, {plain, id, false}, {nil, id, false}, {way, identity.Identity{}, false}} {
		if got := speaksForOthers(c.at, c.id); got != c.want {
			t.Errorf("%v as %v: %v", c.at, c.id, got)
		}
	}
}

func TestStatus(t *testing.T) {
	for flag, want := range map[telemetry.Flag]int{
		telemetry.FlagDenied: 401, telemetry.FlagProtocol: 400, telemetry.FlagConnectFailure: 503, telemetry.FlagNoRoute: 503, telemetry.FlagOverload: 503,
	} {
		if got := status(&flow.Failure{Flag: flag}); got != want {
			t.Errorf("%s: %d, want %d", flag, got, want)
		}
	}
}
