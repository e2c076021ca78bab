package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// Headers that fill most of what is let in are judged like all others, and never slip past a policy; what is longer
// is refused before anybody looks at it.
func TestLargeHeadersMeetPolicies(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{
		{To: []model.L7Operation{{Headers: []model.HeaderCondition{{Name: "x-role", Values: strs("evil*")}}}}}, {To: []model.L7Operation{{Paths: strs("/secret")}}},
	}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/secret")
	large := strings.Repeat("a", 64<<10)
	seen := m.pods[0].Seen.Load()
	for _, c := range []struct {
		what, path string
		header     []string
		want       int
	}{
		{"beside a refused path", "/secret", []string{"X-Large", large}, 403},
		{"the refused one itself", "/", []string{"X-Role", "evil" + large}, 403},
		{"behind one that is refused", "/", []string{"X-Large", large, "X-Role", "evil"}, 403},
		{"longer than is let in", "/secret", []string{"X-Large", large + large + large}, 431},
		{"longer, and the refused one itself", "/", []string{"X-Role", "evil" + large + large}, 431},
	} {
		if code, _, _, err := ask(m.http, "GET", c.path, c.header...); err != nil || code != c.want {
			t.Errorf("%s: %d %v, want %d", c.what, code, err, c.want)
		}
	}
	if n := m.pods[0].Seen.Load(); n != seen {
		t.Errorf("%d of them reached the application", n-seen)
	}
	if code, _, _, err := ask(m.http, "GET", "/", "X-Large", large); err != nil || code != 200 {
		t.Errorf("one that nobody minds: %d %v", code, err)
	}
}

// A policy of 10,000 rules is in force whole: Envoy takes it, and its last rule counts.
func TestTenThousandRules(t *testing.T) {
	m := newMesh(t)
	p := &model.L7Policy{Name: "long", Action: model.Allow}
	for i := range 10_000 {
		p.Rules = append(p.Rules, model.L7Rule{From: from("cluster.local/ns/shop/sa/frontend"), To: []model.L7Operation{{Methods: strs("GET"), Paths: strs(fmt.Sprintf("/rule/%d", i))}}})
	}
	m.policy(p)
	m.publish() // it says that paths are nothing for the TCP port
	testmesh.Eventually(t, 2*time.Minute, "the policy is in force", func() error {
		if code, _, _, err := ask(m.http, "GET", "/rule/10000"); err != nil || code != 403 {
			return fmt.Errorf("status %d, %v", code, err)
		}
		return nil
	})
	m.statusIs(200, m.http, "GET", "/rule/9999")
	m.statusIs(200, m.http, "GET", "/rule/0")
	m.statusIs(403, m.http, "POST", "/rule/9999")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("%d nacks", len(n))
	}
}
