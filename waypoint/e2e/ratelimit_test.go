package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// limit attaches a rate limit to the service, all with limits of an hour, so that nothing comes back meanwhile.
func (m *mesh) limit(name string, l model.RateLimit) {
	m.t.Helper()
	if l.MaxKeys == 0 {
		l.MaxKeys = 100
	}
	a := &model.Attachment{Kind: "RateLimit", Namespace: "shop", Name: name, Target: model.Target{Service: key}, RateLimit: &l}
	m.snap.Attachments[a.Key()] = a
	if problems := m.publish(); len(problems) > 0 {
		m.t.Fatal(problems)
	}
}

func anHour(n uint32, by ...model.LimitKey) model.LimitRule {
	return model.LimitRule{Requests: n, Burst: n, Per: time.Hour, By: by}
}

// passed asks n times and returns how many answers were 200, the rest being 429.
func (m *mesh) passed(n int, c *http.Client, method, path string, header ...string) int {
	m.t.Helper()
	ok := 0
	for range n {
		switch status, _, h, err := ask(c, method, path, header...); {
		case err != nil:
			m.t.Fatal(err)
		case status == 200:
			ok++
		case status != 429:
			m.t.Fatalf("status %d", status)
		case h.Get("x-weft-limited-by") == "" || h.Get("retry-after") == "":
			m.t.Fatalf("429 without its cause: %v", h)
		}
	}
	return ok
}

// Each kind of key has counters of its own, whatever route a request takes.
func TestLocalRateLimit(t *testing.T) {
	m := newMesh(t)
	second := m.caller(other).HTTP(t, vip)
	inForce := func(header string) {
		m.eventually("the limit is in force", func() error {
			_, _, h, err := ask(m.http, "GET", "/probe", "x-probe", "1")
			if err == nil && h.Get("x-ratelimit-limit") != header {
				err = fmt.Errorf("headers %v", h)
			}
			return err
		})
	}
	probe := anHour(1_000_000)
	probe.Match = &model.RouteMatch{Headers: []model.NameMatch{{Name: "x-probe", Value: "1"}}}
	counted := func(r model.LimitRule) model.LimitRule {
		if r.Match == nil {
			r.Match = &model.RouteMatch{}
		}
		r.Match.Headers = append(r.Match.Headers, model.NameMatch{Name: "x-counted", Value: "1"})
		return r
	}
	step := func(n int, rules ...model.LimitRule) {
		t.Helper()
		for i := range rules {
			rules[i] = counted(rules[i])
		}
		p := probe
		p.Requests += uint32(n) // tells the steps apart
		p.Burst = p.Requests
		m.limit("cart", model.RateLimit{Headers: true, Rules: append(rules, p)})
		inForce(fmt.Sprint(p.Requests))
	}
	expect := func(what string, want, n int, c *http.Client, method, path string, header ...string) {
		t.Helper()
		if got := m.passed(n, c, method, path, append(header, "x-counted", "1")...); got != want {
			t.Errorf("%s: %d of %d passed, want %d", what, got, n, want)
		}
	}

	step(1, anHour(5))
	expect("all together", 5, 8, m.http, "GET", "/")
	expect("all together, another caller", 0, 2, second, "GET", "/")
	if got := m.passed(3, m.http, "GET", "/"); got != 3 {
		t.Errorf("%d of 3 that no rule matches passed", got)
	}

	step(2, anHour(3, model.LimitKey{Type: model.LimitIdentity}))
	expect("one identity", 3, 5, m.http, "GET", "/", "x-weft-peer", "spiffe://cluster.local/ns/shop/sa/forged")
	expect("another identity", 3, 5, second, "GET", "/")

	step(3, anHour(3, model.LimitKey{Type: model.LimitNamespace}))
	expect("one namespace", 3, 5, m.http, "GET", "/")
	third := m.caller("spiffe://cluster.local/ns/shop/sa/third").HTTP(t, vip)
	expect("the same namespace", 0, 2, third, "GET", "/")
	expect("another namespace", 3, 5, second, "GET", "/")

	step(4, anHour(2, model.LimitKey{Type: model.LimitPath}), anHour(7, model.LimitKey{Type: model.LimitMethod}))
	expect("a path", 2, 4, m.http, "GET", "/a?x=1")
	expect("the same path, another query", 0, 2, m.http, "GET", "/a?x=2")
	expect("another path", 2, 4, m.http, "POST", "/b")

	step(5, anHour(2, model.LimitKey{Type: model.LimitHeader, Name: "x-user"}))
	expect("a user", 2, 4, m.http, "GET", "/", "x-user", "alice")
	expect("another user", 2, 4, m.http, "GET", "/", "x-user", "bob")
	expect("nobody", 2, 4, m.http, "GET", "/")

	ofThird := anHour(2)
	ofThird.From = []model.CallerMatch{{ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "third"}}}}
	ofOthers := anHour(3)
	ofOthers.From = []model.CallerMatch{{Namespaces: []string{"other"}}}
	step(7, ofThird, ofOthers)
	expect("an account", 2, 4, third, "GET", "/", "x-weft-peer", "spiffe://cluster.local/ns/shop/sa/forged")
	expect("a namespace's", 3, 5, second, "GET", "/")
	expect("who is not meant", 4, 4, m.http, "GET", "/", "x-weft-peer", "spiffe://cluster.local/ns/shop/sa/third")

	step(6, anHour(2, model.LimitKey{Type: model.LimitAddress}, model.LimitKey{Type: model.LimitHost}))
	expect("an address and host", 2, 4, m.http, "GET", "/")
}

// Nothing is refused in dry run, and what would have been is counted.
func TestDryRunOfLimits(t *testing.T) {
	m := newMesh(t)
	m.limit("cart", model.RateLimit{DryRun: true, Headers: true, Rules: []model.LimitRule{anHour(2)}})
	m.eventually("the limit is in force", func() error {
		_, _, h, err := ask(m.http, "GET", "/")
		if err == nil && h.Get("x-ratelimit-limit") != "2" {
			err = fmt.Errorf("headers %v", h)
		}
		return err
	})
	if got := m.passed(5, m.http, "GET", "/"); got != 5 {
		t.Errorf("%d of 5 passed", got)
	}
	if _, stats := m.envoy.Admin("GET", "/stats?usedonly&filter=^limit[.].*shadow_mode"); !strings.Contains(stats, "shadow_mode: ") {
		t.Errorf("the dry run is not counted: %q", stats)
	}
}
