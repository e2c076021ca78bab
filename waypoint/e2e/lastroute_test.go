package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// comeAndGo makes calls from several sides while a route comes as the first and goes as the last, again and again.
// Each call is one that is served with the route and without.
func (m *mesh) comeAndGo(call func(pause time.Duration) error, acts func(there bool) error, r *model.Route) {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex // protects what follows
	failed, calls := map[string]int{}, 0
	for i := range 12 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				err := call(time.Duration((i*7+n*3)%40) * time.Millisecond)
				mu.Lock()
				calls++
				if err != nil {
					failed[err.Error()]++
				}
				mu.Unlock()
			}
		})
	}
	for range 12 {
		m.snap.Routes[r.Key()] = r
		m.publish()
		m.eventually("the route acts", func() error { return acts(true) })
		delete(m.snap.Routes, r.Key())
		m.publish()
		m.eventually("the route acts no more", func() error { return acts(false) })
	}
	cancel()
	wg.Wait()
	m.t.Logf("%d calls", calls)
	if len(failed) > 0 || calls < 24 {
		m.t.Errorf("of %d calls failed %v", calls, failed)
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		m.t.Errorf("refusals: %v", n)
	}
}

// unbound takes cart-v2 from the waypoint: but for routes it is nothing there.
func (m *mesh) unbound() *mesh {
	m.snap.Services[keyV2].Waypoint = nil
	return m
}

// slowHello is hello by a client who takes his time between connecting and his first byte.
func slowHello(c *testmesh.Client, pause time.Duration) (string, error) {
	tun, err := c.Dial(context.Background(), vipTLS)
	if err != nil {
		return "", fmt.Errorf("refused: %w", err)
	}
	defer tun.Close()
	time.Sleep(pause)
	conn := tls.Client(tun, &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}) //nolint:gosec // whose certificate it is makes no difference here
	if err := conn.Handshake(); err != nil {
		return "", fmt.Errorf("no handshake: %w", err)
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		return "", fmt.Errorf("no greeting: %w", err)
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

func TestLastTLSRouteUnderLoad(t *testing.T) {
	for _, app := range []model.AppProtocol{model.AppTLS, model.AppTCP, model.AppUnknown} {
		t.Run(fmt.Sprint("protocol ", app), func(t *testing.T) {
			m := withTLS(t).unbound()
			for _, s := range m.snap.Services {
				s.Ports[len(s.Ports)-1].App = app
			}
			m.publish()
			m.eventually("without routes the service itself", func() error { return want(hello(m.client, "a.example"), "cart-10") })
			r := &model.Route{Namespace: "shop", Name: "only", Kind: "TLSRoute", Service: key, Port: 443, Hostnames: []string{"a.example"},
				Rules: []model.RouteRule{{Backends: []model.Backend{toPort(keyV2, 443, 1)}}}}
			m.comeAndGo(func(pause time.Duration) error {
				_, err := slowHello(m.client, pause)
				return err
			}, func(there bool) error {
				return want(hello(m.client, "a.example"), map[bool]string{true: "cart-v2-11", false: "cart-10"}[there])
			}, r)
		})
	}
}

func TestLastTCPRouteUnderLoad(t *testing.T) {
	m := withV2(t).unbound()
	r := &model.Route{Namespace: "shop", Name: "only", Kind: "TCPRoute", Service: key, Port: 9000, Rules: []model.RouteRule{{Backends: []model.Backend{toPort(keyV2, 9000, 1)}}}}
	m.comeAndGo(func(pause time.Duration) error {
		tun, err := m.client.Dial(context.Background(), vipTCP)
		if err != nil {
			return fmt.Errorf("refused: %w", err)
		}
		defer tun.Close()
		buf := make([]byte, 64)
		if _, err := tun.Read(buf); err != nil {
			return fmt.Errorf("no greeting: %w", err)
		}
		for range 4 {
			time.Sleep(pause)
			if _, err := io.WriteString(tun, "x"); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if _, err := io.ReadFull(tun, buf[:1]); err != nil {
				return fmt.Errorf("no echo: %w", err)
			}
		}
		return nil
	}, func(there bool) error {
		return want(greeter(m.client), map[bool]string{true: "cart-v2-11", false: "cart-10"}[there])
	}, r)
}

func TestLastHTTPRouteUnderLoad(t *testing.T) {
	for port, address := range map[uint16]string{80: vip, 81: "10.96.0.1:81"} {
		t.Run(fmt.Sprint("port ", port), func(t *testing.T) {
			m := withV2(t).unbound()
			var mu sync.Mutex // protects clients
			var clients []*http.Client
			take := func() *http.Client {
				mu.Lock()
				defer mu.Unlock()
				if len(clients) == 0 {
					return m.client.HTTP(t, address)
				}
				c := clients[len(clients)-1]
				clients = clients[:len(clients)-1]
				return c
			}
			r := &model.Route{Namespace: "shop", Name: "only", Kind: "HTTPRoute", Service: key, Port: port, Rules: []model.RouteRule{{Backends: []model.Backend{backend(keyV2, 1)}}}}
			m.comeAndGo(func(pause time.Duration) error {
				c := take()
				code, _, _, err := ask(c, "GET", fmt.Sprintf("/sleep/%d", pause.Milliseconds()))
				if err == nil && code != http.StatusOK {
					err = fmt.Errorf("status %d", code)
				}
				mu.Lock()
				clients = append(clients, c)
				mu.Unlock()
				return err
			}, func(there bool) error {
				_, e, _, err := ask(take(), "GET", "/")
				if err != nil {
					return err
				}
				return want(e.Pod, map[bool]string{true: "cart-v2-11", false: "cart-10"}[there])
			}, r)
		})
	}
}
