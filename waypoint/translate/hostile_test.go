package translate_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// hostile are strings that people and attackers write where something else is meant.
var hostile = []string{
	"", " ", "/", "//", "/a/", "/a?b", "/a#b", "?", "*", "**", "a*", "*a", "(", "[a-", "(?<x>a)", "(?P<x>a)", "a{1001}", `\`, `\1`, `\C`,
	"%", "%%", "%REQ(x)%", "%FOO%", "{", "{{", "\n", "a\r\nb: c", "\x00", "é", "日本", ":path", ":authority", "Host", "host", "x-weft-dst", "X-Envoy-X",
	"content-length", "connection", "a b", "a:b", "a@b", "/" + long(300), "x" + long(300), "spiffe://a/ns/b/sa/c", "10.0.0.1", "::1", "GET", "get", "G T",
	"https", "ftp", "-1", "99999", "shop/cart.shop.svc.cluster.local", "é\n%", "(?i)", "^$", ".*", "$", "a|b", "/..", "/../..", "/%2e%2e",
}

func long(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a'
	}
	return string(b)
}

type chaos struct{ *rand.Rand }

func (c chaos) str() string { return hostile[c.IntN(len(hostile))] }

func (c chaos) opt() string {
	if c.IntN(2) == 0 {
		return ""
	}
	return c.str()
}

func (c chaos) ptr() *string {
	if c.IntN(2) == 0 {
		return nil
	}
	s := c.str()
	return &s
}

func (c chaos) names() (out []model.NameMatch) {
	for range c.IntN(3) {
		out = append(out, model.NameMatch{Name: c.str(), Value: c.str(), Regex: c.IntN(2) == 0})
	}
	return out
}

func (c chaos) headers() (h model.HeaderChange) {
	for range c.IntN(2) {
		h.Set = append(h.Set, model.Header{Name: c.str(), Value: c.str()})
		h.Add = append(h.Add, model.Header{Name: c.str(), Value: c.str()})
		h.Remove = append(h.Remove, c.str())
	}
	return h
}

func (c chaos) matches() (out []model.RouteMatch) {
	kinds := []model.MatchPath{model.PathAny, model.PathExact, model.PathPrefix, model.PathRegex, "nonsense"}
	for range c.IntN(3) {
		out = append(out, model.RouteMatch{PathKind: kinds[c.IntN(len(kinds))], Path: c.str(), Method: c.opt(), Headers: c.names(), Query: c.names()})
	}
	return out
}

func (c chaos) strs() (out []model.StringMatch) {
	for range c.IntN(3) {
		out = append(out, model.StringMatch{Kind: model.MatchKind(c.IntN(5)), Value: c.str()})
	}
	return out
}

func (c chaos) duration() time.Duration {
	return []time.Duration{0, -time.Second, time.Nanosecond, time.Millisecond, time.Hour, 1 << 62}[c.IntN(6)]
}

func (c chaos) backends() (out []model.Backend) {
	services := []string{"shop/a", "shop/b", "shop/gone", c.str()}
	for range c.IntN(3) {
		out = append(out, model.Backend{Service: services[c.IntN(4)], Port: []uint16{80, 81, 0}[c.IntN(3)], Weight: []uint32{0, 1, 1 << 20, 1<<32 - 1}[c.IntN(4)], RequestHdr: c.headers(), ResponseHdr: c.headers(), Invalid: c.opt()})
	}
	return out
}

func (c chaos) rule() model.RouteRule {
	r := model.RouteRule{Name: c.opt(), Matches: c.matches(), RequestHdr: c.headers(), ResponseHdr: c.headers(), Mirrors: c.backends(), Backends: c.backends(), Timeout: c.duration(), TryTimeout: c.duration()}
	switch c.IntN(6) {
	case 0:
		r.Redirect = &model.Redirect{Scheme: c.opt(), Host: c.opt(), Port: uint16(c.IntN(70000)), Code: []uint32{0, 301, 200, 308}[c.IntN(4)], FullPath: c.ptr(), PrefixPath: c.ptr()}
	case 1:
		r.Rewrite = &model.Rewrite{Host: c.opt(), FullPath: c.ptr(), PrefixPath: c.ptr()}
	case 2:
		r.Retry = &model.Retry{Attempts: uint32(c.IntN(3)), Codes: []uint32{0, 503, 99999, 503}[:c.IntN(5)], Backoff: c.duration()}
	}
	return r
}

// world is a waypoint where everything that people write is hostile.
func (c chaos) world() *model.Snapshot {
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "all"}
	apps := []model.AppProtocol{model.AppHTTP, model.AppTCP, model.AppUnknown, model.AppGRPC}
	for i, name := range []string{"a", "b"} {
		svc := &model.Service{Name: name, Namespace: "shop", Hostname: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, 0, byte(c.IntN(2) + i)})}, Waypoint: &model.Gateway{Hostname: "wp"},
			Ports: []model.Port{{ServicePort: 80, TargetPort: 8080, App: apps[c.IntN(4)]}, {ServicePort: 81, TargetPort: 8081, App: apps[c.IntN(4)]}}}
		s.Services[svc.Key()] = svc
		w := &model.Workload{UID: name, Name: name, Namespace: "shop", ServiceAccount: "x", TrustDomain: "cluster.local", Protocol: model.Protocol(c.IntN(2)), Waypoint: &model.Gateway{Hostname: "wp"},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(c.IntN(2))})}, Services: map[string][]model.Port{svc.Key(): svc.Ports}}
		s.Workloads.Set(w.UID, w)
	}
	for i := range 1 + c.IntN(4) {
		r := &model.Route{Namespace: "shop", Name: fmt.Sprint(i), Kind: []string{"HTTPRoute", "GRPCRoute"}[c.IntN(2)], Service: []string{"shop/a", "shop/b"}[c.IntN(2)], Hostnames: []string{c.str()}}
		for range c.IntN(4) {
			r.Rules = append(r.Rules, c.rule())
		}
		s.Routes[r.Key()] = r
	}
	for i := range c.IntN(3) {
		p := &model.L7Policy{Namespace: "shop", Name: fmt.Sprint(i), Action: model.Action(c.IntN(2)), DryRun: c.IntN(3) == 0, Service: []string{"shop/a", "shop/b", ""}[c.IntN(3)]}
		for range c.IntN(3) {
			p.Rules = append(p.Rules, model.L7Rule{
				From: []model.Match{{Principals: c.strs(), NotPrincipals: c.strs(), Namespaces: c.strs(), ServiceAccounts: []model.ServiceAccountMatch{{Namespace: c.str(), ServiceAccount: c.str()}}}},
				To:   []model.L7Operation{{Hosts: c.strs(), NotHosts: c.strs(), Methods: c.strs(), NotMethods: c.strs(), Paths: c.strs(), NotPaths: c.strs()}}})
		}
		s.L7Policies[p.Key()] = p
	}
	for i := range c.IntN(3) {
		f := &model.Fault{Namespace: "shop", Name: fmt.Sprint(i), Target: model.Target{Service: []string{"shop/a", "shop/b"}[c.IntN(2)]}}
		for range c.IntN(3) {
			f.Rules = append(f.Rules, model.FaultRule{Matches: c.matches(), AbortPercent: []float64{0, -1, 50, 1e9}[c.IntN(4)], AbortStatus: []uint32{0, 1, 503, 1 << 30}[c.IntN(4)], DelayPercent: 100, Delay: c.duration()})
		}
		s.Faults[f.Key()] = f
	}
	return s
}

// Whatever people write, the configuration is one that Envoy takes: what it would not is replaced before.
func TestHostileObjectsNeverReachEnvoy(t *testing.T) {
	type validator interface{ ValidateAll() error }
	for seed := range uint64(400) {
		c := chaos{rand.New(rand.NewPCG(seed, 7))}
		res, _ := translate.Translate(c.world(), "shop/wp", translate.Config{})
		for typeURL, list := range res.ByType() {
			for _, r := range list {
				if err := r.(validator).ValidateAll(); err != nil {
					t.Errorf("seed %d %s: %v", seed, typeURL, err)
				}
			}
		}
		if seed < 30 {
			t.Run(fmt.Sprint(seed), func(t *testing.T) { t.Parallel(); validate(t, res) })
		}
	}
}
