package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/isolate"
)

// Services and routes come and change under load without one failed request, and a new service answers
// its very first request.
func TestChangesUnderLoad(t *testing.T) {
	m := newMesh(t)
	iso, err := isolate.New(isolate.Options{
		Waypoint: "shop/wp", Config: m.cfg, Settle: 50 * time.Millisecond,
		Publish: func(s *cache.Snapshot) error { m.envoy.SetCache(s); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(iso.Close)
	set := func() {
		t.Helper()
		next := *m.snap // published snapshots are never changed
		if err := iso.Set(&next); err != nil {
			t.Fatal(err)
		}
	}
	set()
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
		services := map[string]*model.Service{}
		for k, v := range m.snap.Services {
			services[k] = v
		}
		workloads := map[string]*model.Workload{}
		for k, v := range m.snap.Workloads {
			workloads[k] = v
		}
		m.snap.Services, m.snap.Workloads = services, workloads
		name := fmt.Sprintf("new-%d", i)
		s := m.service(name, fmt.Sprintf("10.96.1.%d", i+1))
		w := m.workload(m.pods[0], name, pods)
		delete(m.snap.Workloads, w.UID)
		w.UID, w.Name = name, name
		m.snap.Workloads[name] = w
		m.snap.Workloads["test//Pod/shop/cart-10"] = m.workload(m.pods[0], "cart", pods)
		m.snap.Routes = map[string]*model.Route{}
		m.route("r", model.RouteRule{Name: fmt.Sprint(i), Backends: []model.Backend{backend(key, 1)}})
		set()
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
