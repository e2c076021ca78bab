package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// Services and routes come, change and go under load without one failed request, and a new service answers
// its very first request.
func TestChangesUnderLoad(t *testing.T) {
	m := newMesh(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var asked, failed atomic.Int64
	for range 4 {
		hc := m.client.HTTP(t, vip)
		wg.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if code, _, _, err := ask(hc, "GET", "/"); err != nil || code != 200 {
					if failed.Add(1) < 4 {
						t.Errorf("request failed: %d %v", code, err)
					}
				}
			}
		})
	}
	for i := range 20 {
		if i > 1 { // leaves as the next comes, with its routes and endpoints
			gone := fmt.Sprintf("new-%d", i-2)
			delete(m.snap.Services, "shop/"+gone+".shop.svc.cluster.local")
			m.snap.Workloads.Delete(gone)
		}
		name := fmt.Sprintf("new-%d", i)
		s := m.service(name, fmt.Sprintf("10.96.1.%d", i+1))
		w := m.workload(m.pods[0], name, pods)
		m.snap.Workloads.Delete(w.UID)
		w.UID, w.Name = name, name
		m.snap.Workloads.Set(name, w)
		m.snap.Workloads.Set("test//Pod/shop/cart-10", m.workload(m.pods[0], "cart", pods))
		m.route("r", model.RouteRule{Name: fmt.Sprint(i), Backends: []model.Backend{backend(key, 1), backend(s.Key(), 1)}})
		m.publish()
		hc := m.client.HTTP(t, s.Addresses[0].String()+":80")
		m.eventually("the new service answers", func() error {
			code, _, _, err := ask(hc, "GET", "/")
			if err != nil {
				return err // its address is not open yet
			}
			if code != http.StatusOK {
				t.Errorf("service %d: first answer is %d", i, code)
			}
			return nil
		})
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("refusals: %v", n)
	}
}
