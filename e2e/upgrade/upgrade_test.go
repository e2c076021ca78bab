package upgrade

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

func number(t *testing.T, name string, usual int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}

// The ztunnels of both ends are replaced, again and again, under busy connections and new ones: none of them breaks
// or sees a wrong byte.
func TestNothingIsCut(t *testing.T) {
	connections, rounds := number(t, "CONNECTIONS", 200), number(t, "UPGRADES", 3)
	m := raise(t, connections)
	first := map[string]usage{}
	for i := range rounds {
		for _, n := range m.l.NodeNames() {
			before := len(m.lines())
			u, err := lab.Upgrade(t.Context(), m.l, n)
			must(t, err)
			m.more()
			longest := int64(0)
			for _, s := range m.lines()[before:] {
				longest = max(longest, s.Longest)
			}
			t.Logf("round %d, %s: %d connections went on after %v; the longest answer took %d ms", i+1, n, u.Connections, u.Paused, longest)
			if u.Connections < connections {
				t.Errorf("round %d, %s: only %d connections of %d were taken over", i+1, n, u.Connections, connections)
			}
			now := m.usage(n, u.New)
			if i == 0 {
				first[n] = now
			}
			if i == rounds-1 {
				t.Logf("%s after the first upgrade: %+v, after %d: %+v", n, first[n], rounds, now)
				now.check(t, first[n], rounds)
			}
		}
	}
	// Longer than the agent leaves the right to send to the cgroups of processes that are gone.
	began := time.Now()
	m.until("the agent has looked twice after former ztunnels", func(stats) bool { return time.Since(began) > 25*time.Second })
	m.more()
	s := m.now()
	t.Logf("%d bytes compared, %d connections made and closed besides", s.Bytes, s.Churned)
}
