package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
)

func (m *mesh) policy(p *model.L7Policy) {
	p.Namespace = "shop"
	if p.Service == "" {
		p.Service = key
	}
	m.snap.L7Policies[p.Key()] = p
}

func from(principal string) []model.Match {
	return []model.Match{{Principals: []model.StringMatch{model.ParseStringMatch(principal)}}}
}

func strs(in ...string) (out []model.StringMatch) {
	for _, s := range in {
		out = append(out, model.ParseStringMatch(s))
	}
	return out
}

func TestRequestPolicies(t *testing.T) {
	m := newMeshWith(t, oneWorker)
	otherHTTP := m.caller(other).HTTP(t, vip)
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{
		{From: from("cluster.local/ns/shop/sa/frontend"), To: []model.L7Operation{{Methods: strs("GET"), Paths: strs("/api/*", "/secret")}}},
		{From: []model.Match{{Namespaces: strs("other")}}, To: []model.L7Operation{{Paths: strs("/open")}}},
		{From: []model.Match{{SourceIPs: []netip.Prefix{netip.MustParsePrefix("10.244.9.0/24")}}}, To: []model.L7Operation{{Paths: strs("/by-ip")}}},
		{To: []model.L7Operation{{Hosts: strs("public.example")}}},
	}})
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{{To: []model.L7Operation{{Paths: strs("/secret")}}}}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/")
	m.client.Forwarded = `for="10.244.9.9:4242";host=cart`
	away := m.caller(frontend)
	away.Forwarded = `for="10.244.8.9:4242";host=cart`
	byIP, awayHTTP := m.client.HTTP(t, vip), away.HTTP(t, vip)
	for _, tc := range []struct {
		want   int
		method string
		path   string
		who    string
		header []string
	}{
		{200, "GET", "/api/x", "frontend", nil},
		{403, "POST", "/api/x", "frontend", nil},
		{403, "GET", "/api/x", "other", nil},
		{200, "GET", "/open", "other", nil},
		{403, "GET", "/open", "frontend", nil},
		{403, "GET", "/secret", "frontend", nil}, // DENY wins
		{403, "GET", "/a/../secret", "frontend", nil},
		{403, "GET", "//secret", "frontend", nil},
		{200, "GET", "/by-ip", "by-ip", nil},
		{403, "GET", "/by-ip", "away", nil},
		{403, "GET", "/by-ip", "away", []string{"X-Forwarded-For", "10.244.9.9"}},
		{200, "GET", "/x", "other", []string{"Host", "PUBLIC.example:8080"}},
		{403, "GET", "/api/x", "other", []string{"X-Forwarded-Client-Cert", "By=x;URI=" + frontend}},
		{403, "GET", "/api/x", "other", []string{"X-Weft-Dst", "10.96.0.1:81"}},
	} {
		client := m.http
		switch tc.who {
		case "other":
			client = otherHTTP
		case "by-ip":
			client = byIP
		case "away":
			client = awayHTTP
		}
		code, _, _, err := ask(client, tc.method, tc.path, tc.header...)
		if err != nil || code != tc.want {
			t.Errorf("%s %s %s %v: %d %v, want %d", tc.who, tc.method, tc.path, tc.header, code, err, tc.want)
		}
	}
}

func TestDryRunOnlyReports(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "dry", Action: model.Deny, DryRun: true, Rules: []model.L7Rule{{To: []model.L7Operation{{Paths: strs("/dry")}}}}})
	m.policy(&model.L7Policy{Name: "dry-allow", Action: model.Allow, DryRun: true, Rules: []model.L7Rule{{From: from("nobody")}}})
	m.policy(&model.L7Policy{Name: "sign", Action: model.Deny, Rules: []model.L7Rule{{To: []model.L7Operation{{Paths: strs("/sign")}}}}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/sign") // the policies have arrived
	m.statusIs(200, m.http, "GET", "/dry")
	m.eventually("the dry runs are in the log", func() error {
		for _, msg := range m.envoy.Logs() {
			for _, e := range msg.GetHttpLogs().GetLogEntry() {
				if e.GetRequest().GetPath() == "/dry" && strings.HasPrefix(field(e, translate.FieldDenyDry), "shop/dry[0]") && field(e, translate.FieldAllowDry) == "denied" {
					return nil
				}
			}
		}
		return errors.New("not yet")
	})
}

func TestTCPPolicy(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{{From: from("cluster.local/ns/shop/sa/frontend"), To: []model.L7Operation{{Ports: []uint16{9000, 82}}}}}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/")
	for _, port := range []string{"9000", "82"} {
		m.closed(m.caller(other), "10.96.0.1:"+port, "to others, port "+port) // first: each port's listener changes on its own
		if got, err := banner(m.client, "10.96.0.1:"+port); err != nil || got != "220 cart-10\n" {
			t.Errorf("frontend on %s: %q %v", port, got, err)
		}
	}
}

// A policy about requests on a TCP port: an ALLOW matches nothing.
func TestRequestPolicyOnTCPFailsClosed(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{{To: []model.L7Operation{{Methods: strs("GET")}}}}})
	if p := m.publish(); len(p) == 0 {
		t.Error("no problem is reported")
	}
	m.statusIs(403, m.http, "POST", "/")
	m.closedTCP("a TCP port under a policy about requests")
	// The port of unknown protocol is taken for HTTP: GET passes, bytes that are not HTTP do not.
	code, _, _, err := ask(m.client.HTTP(t, "10.96.0.1:81"), "GET", "/")
	if err != nil || code != 200 {
		t.Errorf("GET on an unknown port: %d %v", code, err)
	}
}

// closedTCP waits until the service's TCP port refuses.
func (m *mesh) closedTCP(what string) {
	m.t.Helper()
	m.closed(m.client, "10.96.0.1:9000", what)
}

// closed waits until a CONNECT is answered 403. Envoy takes up the listeners of one configuration one after the
// other: that one has changed does not say that the next has.
func (m *mesh) closed(c *testmesh.Client, authority, what string) {
	m.t.Helper()
	m.eventually("closed: "+what, func() error {
		_, err := banner(c, authority)
		var refused *testmesh.RefusedError
		if errors.As(err, &refused) && refused.Code == 403 {
			return nil
		}
		return fmt.Errorf("%v, want CONNECT 403", err)
	})
}

// banner reads the first line of a server that speaks first.
func banner(c *testmesh.Client, authority string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	tun, err := c.Dial(ctx, authority)
	if err != nil {
		return "", err
	}
	defer tun.Close()
	buf := make([]byte, 256)
	n, err := tun.Read(buf)
	if err != nil {
		return "", fmt.Errorf("read: %w", err)
	}
	return string(buf[:n]), nil
}
