package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// Two identities, and two addresses of one of them, call one address through thousands of tunnels at
// once, a good part of them given up at birth. Envoy pools the connections between its listeners; not one
// may carry what belongs to another caller.
func TestIdentitiesAreNeverMixed(t *testing.T) {
	// One worker, so that all callers share its pools.
	m := newMeshWith(t, func(e *testmesh.Envoy) { e.Workers = 1 })
	tunnels := 8000
	if testing.Short() {
		tunnels = 1000
	}
	type who struct{ uri, addr string }
	// Equal addresses, so that only the identity tells two callers apart, and the other way round.
	callers := []who{{frontend, "10.244.1.1"}, {other, "10.244.1.1"}, {frontend, "10.244.1.2"}, {other, "10.244.1.2"}}
	var ok, cancelled, failed, wrong atomic.Int64
	var wg sync.WaitGroup
	const workers = 48
	for _, c := range callers {
		cl := m.caller(c.uri)
		cl.Forwarded = fmt.Sprintf(`for="%s:1000";host=cart`, c.addr)
		for range workers {
			wg.Go(func() {
				for range tunnels / len(callers) / workers {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					if rand.IntN(100) < 40 {
						time.AfterFunc(time.Duration(rand.IntN(400))*time.Microsecond, cancel)
					}
					uri, addr, err := whoAmI(ctx, cl)
					switch {
					case ctx.Err() == context.Canceled:
						cancelled.Add(1)
					case err != nil:
						if failed.Add(1) < 5 {
							t.Logf("failed: %v", err)
						}
					case uri != c.uri || addr != c.addr:
						if wrong.Add(1) < 5 {
							t.Errorf("%s at %s was seen as %s at %s", c.uri, c.addr, uri, addr)
						}
					default:
						ok.Add(1)
					}
					cancel()
				}
			})
		}
	}
	wg.Wait()
	t.Logf("ok %d, cancelled %d, failed %d, mixed %d", ok.Load(), cancelled.Load(), failed.Load(), wrong.Load())
	if wrong.Load() > 0 {
		t.Errorf("%d tunnels carried another caller's identity or address", wrong.Load())
	}
	if n := ok.Load(); n < int64(tunnels)/3 {
		t.Errorf("only %d of %d tunnels were answered", n, tunnels)
	}
	if n := failed.Load(); n > int64(tunnels)/100 {
		t.Errorf("%d tunnels failed", n)
	}
}

// whoAmI asks the application who it thinks calls.
func whoAmI(ctx context.Context, c *testmesh.Client) (uri, addr string, err error) {
	tun, err := c.Dial(ctx, vip)
	if err != nil {
		return "", "", err
	}
	defer tun.Close()
	fmt.Fprint(tun, "GET / HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(tun), nil)
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return "", "", fmt.Errorf("status %d", res.StatusCode)
	}
	var e testmesh.Echo
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		return "", "", err
	}
	_, uri, _ = strings.Cut(e.Headers.Get("X-Forwarded-Client-Cert"), "URI=")
	return uri, e.Headers.Get("X-Forwarded-For"), nil
}
