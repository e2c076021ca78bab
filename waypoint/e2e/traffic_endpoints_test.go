package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// firstShare adds a newcomer to cart and returns its share of the requests after its first one, in percent of an even
// share.
func (m *mesh) firstShare(newcomer *testmesh.Pod) int {
	m.t.Helper()
	const n = 200
	m.workload(newcomer, "cart", pods)
	m.publish()
	m.eventually("the newcomer is asked", func() error {
		if by := m.spread(20, m.http, "/"); by[newcomer.Name] == 0 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	by := m.spread(n, m.http, "/")
	m.t.Log(by)
	return by[newcomer.Name] * 100 * len(m.pods) / n
}

// leave takes a pod out of cart.
func (m *mesh) leave(p *testmesh.Pod) {
	m.t.Helper()
	m.snap.Workloads.Delete("test//Pod/shop/" + p.Name)
	m.publish()
	m.eventually(p.Name+" is asked no more", func() error {
		if by := m.spread(40, m.http, "/"); by[p.Name] != 0 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
}

// An endpoint that has just come gets a small share at first, and its full one when the window is over; without slow
// start it has that at once.
func TestTrafficSlowStart(t *testing.T) {
	for name, algorithm := range map[string]model.Algorithm{"round robin": model.RoundRobin, "least connections": model.LeastConnections} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t)
			m.pod("cart", pods)
			newcomer := m.pod("cart", pods)
			m.leave(newcomer)
			m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: algorithm}})
			testmesh.Eventually(t, 30*time.Second, "without slow start a full share", func() error {
				defer m.leave(newcomer)
				if got := m.firstShare(newcomer); got < 70 {
					return fmt.Errorf("%d%%", got)
				}
				return nil
			})
			m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: algorithm, SlowStart: &model.SlowStart{Window: 6 * time.Second, Aggression: 1, MinPercent: 10}}})
			// With the policy all are new to Envoy: one who comes while the others are is no worse off than they.
			testmesh.Eventually(t, time.Minute, "a small share at first", func() error {
				if got := m.firstShare(newcomer); got == 0 || got > 50 {
					m.leave(newcomer)
					return fmt.Errorf("%d%%", got)
				}
				return nil
			})
			testmesh.Eventually(t, time.Minute, "a full share in the end", func() error {
				const n = 300
				if by := m.spread(n, m.http, "/"); by[newcomer.Name] < n/3*7/10 {
					return fmt.Errorf("%v", by)
				}
				return nil
			})
		})
	}
}

// An endpoint that fails clearly more than the others is ejected for that alone: it never fails twice in a row.
func TestTrafficSuccessRate(t *testing.T) {
	m := newMesh(t)
	for range 6 {
		m.pod("cart", pods)
	}
	bad := m.pods[3]
	bad.Every.Store(2)
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(0), Balance: &model.Balance{Algorithm: model.RoundRobin}, Outliers: &model.Outliers{
		SuccessRate: &model.SuccessRate{Hosts: 5, Requests: 10, Deviations: 1900},
		Interval:    2 * time.Second, BaseEjection: time.Hour, MaxEjection: time.Hour, MaxPercent: 50,
	}})
	testmesh.Eventually(t, time.Minute, "one is ejected", func() error {
		m.spread(100, m.http, "/flaky")
		if n := m.stat("cluster." + key + "_80.outlier_detection.ejections_active"); n != 1 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	if n := m.stat("cluster." + key + "_80.outlier_detection.ejections_enforced_success_rate"); n != 1 {
		t.Errorf("%d ejected for their success rate, want 1", n)
	}
	m.eventually("with the bad one out all goes well", func() error { // the workers hear of it later
		for range 70 {
			if code, _, h, err := ask(m.http, "GET", "/flaky"); err != nil || code != 200 || h.Get("X-Pod") == bad.Name {
				return fmt.Errorf("%d by %s, %w", code, h.Get("X-Pod"), err)
			}
		}
		return nil
	})
	if by := m.spread(70, m.http, "/"); len(by) != 6 {
		t.Errorf("the others go on: %v", by)
	}
}
