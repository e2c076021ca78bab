package e2e

import (
	"fmt"
	"net/http"
	"strconv"
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
	third := m.caller("spiffe://cluster.local/ns/shop/sa/third").HTTP(t, vip)
	inForce := func(header string) {
		for _, c := range []*http.Client{m.http, second, third} { // each may have another of Envoy's workers
			m.eventually("the limit is in force", func() error {
				_, _, h, err := ask(c, "GET", "/probe", "x-probe", "1")
				if err == nil && h.Get("RateLimit-Limit") != header {
					err = fmt.Errorf("headers %v", h)
				}
				return err
			})
		}
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

// budget wants that an answer says by the IETF's headers, and by those that Envoy has always had, what is left.
func budget(t *testing.T, what string, h http.Header, limit, remaining string) {
	t.Helper()
	for _, prefix := range []string{"RateLimit-", "X-RateLimit-"} {
		got := []string{}
		for _, part := range []string{"Limit", "Remaining", "Reset"} {
			got = append(got, h.Values(prefix+part)...)
		}
		if len(got) != 3 || got[0] != limit || got[1] != remaining {
			t.Errorf("%s: %s%q, want %s, %s and a time", what, prefix, got, limit, remaining)
			continue
		}
		if reset, err := strconv.Atoi(got[2]); err != nil || remaining == "0" && reset == 0 {
			t.Errorf("%s: %s%q, want when there is more", what, prefix, got)
		}
	}
}

// Answers say what is left by the headers of the IETF's draft, refusals too; where no limit applies they say nothing,
// and what the application says of its own limits is left alone.
func TestRateLimitHeaders(t *testing.T) {
	m := newMesh(t)
	rule := anHour(2)
	rule.Match = &model.RouteMatch{Headers: []model.NameMatch{{Name: "x-counted", Value: "1"}}}
	m.limit("cart", model.RateLimit{Headers: true, Rules: []model.LimitRule{rule}})
	var first http.Header
	m.eventually("the limit is in force", func() error {
		_, _, h, err := ask(m.http, "GET", "/", "x-counted", "1")
		if first = h; err == nil && h.Get("RateLimit-Limit") == "" {
			err = fmt.Errorf("headers %v", h)
		}
		return err
	})
	budget(t, "the first", first, "2", "1")
	for i, want := range []int{200, 429, 429} {
		status, _, h, err := ask(m.http, "GET", "/headers?X-RateLimit-Limit=7&RateLimit-Limit=7&X-RateLimit-Reset=7", "x-counted", "1")
		if err != nil || status != want {
			t.Fatalf("request %d: %d %v", i+2, status, err)
		}
		budget(t, fmt.Sprint("request ", i+2), h, "2", "0")
	}
	for own, want := range map[string]string{
		"": "/", "RateLimit-Limit=100": "100/", "RateLimit-Remaining=99": "99/",
		"RateLimit-Limit=100&X-RateLimit-Limit=7": "100/7", "X-RateLimit-Limit=7&X-RateLimit-Reset=8": "/78",
	} {
		_, _, h, err := ask(m.http, "GET", "/headers?"+own)
		if got := said(h, "RateLimit-") + "/" + said(h, "X-RateLimit-"); err != nil || got != want {
			t.Errorf("of a request that is not counted, where the application says %q: %q %v", own, got, err)
		}
		if fmt.Sprint(h) != strings.ReplaceAll(fmt.Sprint(h), "X-Weft", "") {
			t.Errorf("the answer has what is ours: %v", h)
		}
	}
}

func said(h http.Header, prefix string) string {
	return strings.Join(h.Values(prefix+"Limit"), " ") + strings.Join(h.Values(prefix+"Remaining"), " ") + strings.Join(h.Values(prefix+"Reset"), " ")
}

// Nothing is refused in dry run, and what would have been is counted.
func TestDryRunOfLimits(t *testing.T) {
	m := newMesh(t)
	m.limit("cart", model.RateLimit{DryRun: true, Headers: true, Rules: []model.LimitRule{anHour(2)}})
	m.eventually("the limit is in force", func() error {
		_, _, h, err := ask(m.http, "GET", "/")
		if err == nil && h.Get("RateLimit-Limit") != "2" {
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
