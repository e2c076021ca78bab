package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// The kernel probes the connections to a service as its policy says, and leaves those of others alone.
func TestTrafficKeepalive(t *testing.T) {
	m := newMesh(t)
	m.service("quiet", "10.96.0.8")
	quiet := m.pod("quiet", pods)
	m.traffic("q", model.Target{Service: "shop/quiet.shop.svc.cluster.local"}, &model.TrafficPolicy{
		Keepalive: &model.Keepalive{Time: 40 * time.Second, Interval: 10 * time.Second, Probes: 3},
	})
	client := m.client.HTTP(t, "10.96.0.8:80")
	m.eventually("the connection to the pod is looked after", func() error {
		if code, _, _, err := ask(client, "GET", "/"); err != nil || code != 200 {
			return fmt.Errorf("%d %w", code, err)
		}
		for _, left := range keepalives(t, netip.AddrPortFrom(quiet.Addr, 15008)) {
			if left > 0 && left <= 40*time.Second {
				return nil
			}
		}
		return errors.New("no probe is due within the time that the policy says")
	})
	m.statusIs(200, m.http, "GET", "/")
	others := keepalives(t, netip.AddrPortFrom(m.pods[0].Addr, 15008))
	if len(others) == 0 {
		t.Error("no connection to the pod of another service is found")
	}
	for _, left := range others {
		if left != 0 {
			t.Errorf("a connection of another service is probed in %v", left)
		}
	}
}

// keepalives lists, of each connection to an IPv4 address, when the kernel will probe it; 0: it will not.
func keepalives(t *testing.T, to netip.AddrPort) []time.Duration {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	b := to.Addr().As4()
	remote := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(b[:]), to.Port())
	var out []time.Duration
	for _, line := range strings.Split(string(table), "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || f[2] != remote || f[3] != "01" { // ESTABLISHED
			continue
		}
		kind, ticks, _ := strings.Cut(f[5], ":")
		left := time.Duration(0)
		if kind == "02" { // the timer of keepalive
			n, err := strconv.ParseInt(ticks, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			left = time.Duration(n) * time.Second / 100 // the kernel tells it in hundredths, whatever its own clock is
		}
		out = append(out, left)
	}
	return out
}

// So many requests at once as a policy allows are on one HTTP/2 connection to the application, and the next opens another.
func TestTrafficHTTP2Streams(t *testing.T) {
	m := newMesh(t)
	pod := m.pods[0]
	m.traffic("p", cartService, &model.TrafficPolicy{Protocol: model.AppHTTP2, Retries: getOnly(0), HTTP2: &model.HTTP2{Streams: 1, StreamWindow: 65535, ConnectionWindow: 65535}})
	m.eventually("the application is spoken HTTP/2 to", func() error {
		if _, e, _, err := ask(m.http, "GET", "/"); err != nil || e.Proto != "HTTP/2.0" {
			return fmt.Errorf("%s %w", e.Proto, err)
		}
		return nil
	})
	const held = 8 // more than Envoy has workers, of which each might have a connection anyway
	active := func() int64 { return m.stat("cluster." + key + "_80.upstream_cx_active") }
	hold := func(until func() error) {
		t.Helper()
		pod.Hold.Store(true)
		before := pod.Seen.Load()
		var calls sync.WaitGroup
		for range held {
			calls.Go(func() {
				if code, _, _, err := ask(m.http, "GET", "/hold"); err != nil || code != 200 {
					t.Errorf("a call ends %d %v", code, err)
				}
			})
		}
		m.eventually("all are held", func() error {
			if n := pod.Seen.Load() - before; n != held {
				return fmt.Errorf("%d of %d", n, held)
			}
			return nil
		})
		m.eventually("connections are as the policy says", until)
		pod.Hold.Store(false)
		calls.Wait()
	}
	hold(func() error {
		if n := active(); n < held {
			return fmt.Errorf("%d connections for %d requests", n, held)
		}
		return nil
	})
	m.traffic("p", cartService, &model.TrafficPolicy{Protocol: model.AppHTTP2, Retries: getOnly(0)})
	m.eventually("the old connections are gone", func() error {
		m.statusIs(200, m.http, "GET", "/")
		if n := active(); n >= held {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
	hold(func() error {
		if n := active(); n >= held {
			return fmt.Errorf("%d connections for %d requests that may share one", n, held)
		}
		return nil
	})
}
