package ztunnel_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

// shards are the driver of tunnels under test; nil is the other one.
var shards *hbone.Shards

// TestMain runs all tests on both drivers of tunnels; WEFT_TUNNEL_TLS picks one.
func TestMain(m *testing.M) {
	if role := os.Getenv(appEnv); role != "" {
		appMain(role, os.Args[1:])
		return
	}
	for _, driver := range []string{"stdlib", "records"} {
		if only := os.Getenv("WEFT_TUNNEL_TLS"); only != "" && only != driver {
			continue
		}
		fmt.Println("driver:", driver)
		if driver == "records" {
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
			var err error
			if shards, err = hbone.NewShards(hbone.ShardsOptions{Count: 2}); err != nil {
				panic(err)
			}
		}
		code := m.Run()
		if shards != nil {
			shards.Close() // waits for ever if a connection was left
		}
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if code != 0 {
			os.Exit(code)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// Connections of every kind of fate come and go; nothing of them stays.
func TestNothingLeaks(t *testing.T) {
	m := shop(t)
	m.serve("192.0.2.1:80", echo)
	front := m.pods["front-1"]
	round := func() {
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				var c *net.TCPConn
				switch i % 6 {
				case 0: // orderly
					c = front.app("10.96.0.2:80")
					say(c, "hello")
				case 1: // given up without a word
					c = front.app("10.96.0.2:80")
				case 2: // reset
					c = front.app("10.244.2.1:8080")
					say(c, "hello")
					relay.Reset(c)
				case 3: // refused
					c = front.app("10.244.2.1:81")
					c.Read(make([]byte, 1))
				case 4: // outside
					c = front.app("192.0.2.1:80")
					say(c, "hello")
				case 5: // in the clear
					c = m.pods["cart-1"].plain("10.9.9.9:5000", "10.244.2.1:8080")
					say(c, "hello")
				}
				c.Close()
			})
		}
		wg.Wait()
		until(t, "no connection left", func() bool { return m.nodes["n1"].Flows.Len() == 0 && m.nodes["n2"].Flows.Len() == 0 })
	}
	round()
	var fds, routines int
	settled := func() bool {
		runtime.GC()
		f, r := descriptors(t), runtime.NumGoroutine()
		same := f == fds && r == routines
		fds, routines = f, r
		return same
	}
	until(t, "rest", settled)
	before, beforeRoutines := fds, routines
	for range 5 {
		round()
	}
	until(t, "as many descriptors and goroutines as before", func() bool {
		return descriptors(t) <= before && runtime.NumGoroutine() <= beforeRoutines
	})
}

// Policies and workloads change all the time while connections live.
func TestChangesUnderLoad(t *testing.T) {
	m := shop(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := m.pods["front-1"].app("10.96.0.2:80")
				if got, err := say(c, "hello"); err != nil || got != "hello" {
					t.Errorf("an allowed connection failed: %q %v", got, err)
				}
				c.Close()
			}
		})
	}
	for i := range 100 {
		p := only("front")
		p.DryRun = false
		cart := workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
		s := service("cart", "10.96.0.2", 8080, cart)
		if i%2 == 0 {
			m.apply(state.Delta{Policies: []*model.Policy{p}, Workloads: []*model.Workload{cart}, Services: []*model.Service{s}})
		} else {
			m.apply(state.Delta{RemovedPolicies: []string{p.Key()}})
		}
	}
	close(stop)
	wg.Wait()
}
