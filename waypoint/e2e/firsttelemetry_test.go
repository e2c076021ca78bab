package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/weftmesh/weft/pkg/model"
)

// The first traces and the first further log of a waypoint renew its listeners: no request fails for that, and a
// stream that is open goes on.
func TestFirstTelemetryUnderLoad(t *testing.T) {
	m := newMesh(t)
	c, at := m.collector()
	ws, err := websocket.Dial("ws://"+m.app(websocket.Handler(echoMessages), model.AppHTTP)+"/chat", "", "http://shop.example")
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	talk := func() {
		t.Helper()
		var got string
		if err := errors.Join(websocket.Message.Send(ws, "still here"), websocket.Message.Receive(ws, &got)); err != nil || got != "still here" {
			t.Fatalf("the open stream says %q: %v", got, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var asked, failed atomic.Int64
	load := func(hc *http.Client) {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				asked.Add(1)
				if code, _, _, err := ask(hc, "GET", fmt.Sprintf("/sleep/%d", n%7)); err != nil || code != 200 {
					if failed.Add(1) < 4 {
						t.Errorf("request failed: %d %v", code, err)
					}
				}
			}
		})
	}
	for range 3 {
		load(m.client.HTTP(t, vip))
	}
	load(&http.Client{Transport: h2c(m.client, vip)})
	renewed := func(atLeast int) {
		t.Helper()
		m.eventually("listeners are renewed", func() error {
			_, body := m.envoy.Admin(http.MethodGet, "/stats?filter=listener_manager.listener_in_place_updated|listener_manager.listener_modified")
			var all int
			for _, line := range strings.Fields(strings.ReplaceAll(body, ":", " ")) {
				var n int
				if _, err := fmt.Sscanf(line, "%d", &n); err == nil {
					all += n
				}
			}
			if all < atLeast {
				return fmt.Errorf("%s", body)
			}
			return nil
		})
	}
	talk()
	m.telemetry("traces", model.Target{Waypoint: "shop/wp"}, &model.Telemetry{Tracing: &model.Tracing{Collector: &at, Percentage: 100}})
	m.publish()
	m.eventually("there are spans", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.spans) == 0 {
			return errors.New("none")
		}
		return nil
	})
	renewed(2)
	talk()
	m.telemetry("log", model.Target{Waypoint: "shop/wp"}, &model.Telemetry{AccessLog: &model.AccessLog{Text: "seen %RESPONSE_CODE%", Percentage: 100}})
	m.publish()
	m.eventually("there are lines", func() error {
		if !strings.Contains(m.envoy.Output(), "seen 200") {
			return errors.New("none")
		}
		return nil
	})
	renewed(4)
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		talk() // Envoy's own mind about it changes after seconds
	}
	cancel()
	wg.Wait()
	t.Logf("%d requests, %d failed", asked.Load(), failed.Load())
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("refusals: %v", n)
	}
}
