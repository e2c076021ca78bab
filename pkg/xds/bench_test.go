package xds

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// bigMesh is n pods in services of 20, on nodes of 100.
func bigMesh(n int) *model.Snapshot {
	s := model.NewSnapshot()
	for i := range n {
		ns, app := fmt.Sprintf("ns-%d", i/20%100), fmt.Sprintf("app-%d", i/20)
		host := model.ServiceHostname(app, ns, "cluster.local")
		key := ns + "/" + host
		if s.Services[key] == nil {
			s.Services[key] = &model.Service{Name: app, Namespace: ns, Hostname: host, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 13), byte(i >> 5)})},
				Ports: []model.Port{{ServicePort: 80, TargetPort: 8080, App: model.AppHTTP, Name: "http"}}}
		}
		name := fmt.Sprintf("%s-7d9f8c6b5-%05d", app, i)
		uid := "cluster1//Pod/" + ns + "/" + name
		s.Workloads.Set(uid, &model.Workload{UID: uid, Name: name, Namespace: ns, ServiceAccount: app, TrustDomain: "cluster.local",
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}, Node: fmt.Sprintf("node-%d", i/100), Cluster: "cluster1",
			Locality: model.Locality{Region: "r1", Zone: fmt.Sprintf("z%d", i%3)}, Protocol: model.HBONE, CanonicalName: app, CanonicalRev: "v1", OwnerKind: "deployment", OwnerName: app,
			Services: map[string][]model.Port{key: {{ServicePort: 80, TargetPort: 8080, App: model.AppHTTP}}}})
	}
	return s
}

// withOneChanged is s recompiled from scratch with another revision of one pod: all pointers differ.
func withOneChanged(n, round int) *model.Snapshot {
	s := bigMesh(n)
	for _, w := range s.Workloads.All() {
		w.CanonicalRev = fmt.Sprint("r", round)
		break
	}
	return s
}

func heapMB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// BenchmarkMesh prints what a mesh of so many workloads costs the controller and one ztunnel, over
// gRPC and TLS on loopback: go test -run ^$ -bench Mesh -benchtime 1x ./pkg/xds
func BenchmarkMesh(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				benchMesh(b, n)
			}
		})
	}
}

func benchMesh(b *testing.B, n int) {
	r := newRig(b)
	s, at, stop := r.serve(b, anyPort, Options{})
	defer stop()
	snap := bigMesh(n)
	base := heapMB()
	start := time.Now()
	s.SetSnapshot(snap)
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-publish")
	b.ReportMetric(heapMB()-base, "MB-server-cache")

	changes := make(chan int, 1000)
	held := map[string]*model.Workload{}
	start = time.Now()
	c, stopClient := startClient(b, subscribe.Options{Conn: r.dial(b, at, ca.MintOptions{Node: "n1"}), Handler: subscribe.HandlerFunc(func(d subscribe.Delta) error {
		for _, w := range d.Workloads {
			held[w.UID] = w
		}
		changes <- len(d.Workloads)
		return nil
	})})
	waitSynced(b, c)
	b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms-full-sync")
	b.ReportMetric(heapMB()-base, "MB-server+1client")
	for len(changes) > 0 {
		<-changes
	}
	var publish, arrive time.Duration
	const rounds = 5
	for i := range rounds {
		next := withOneChanged(n, i)
		start = time.Now()
		s.SetSnapshot(next)
		publish += time.Since(start)
		if got := <-changes; got > 2 { // the one of the round before goes back to what it was
			b.Fatalf("%d workloads were sent for one change", got)
		}
		arrive += time.Since(start)
	}
	b.ReportMetric(float64(publish.Microseconds())/1000/rounds, "ms-diff")
	b.ReportMetric(float64(arrive.Microseconds())/1000/rounds, "ms-change-arrives")
	if len(held) != n {
		b.Fatalf("%d workloads arrived, want %d", len(held), n)
	}
	stopClient()
	runtime.KeepAlive(snap)
	all := heapMB()
	runtime.KeepAlive(c)
	clear(held)
	b.ReportMetric(all-heapMB(), "MB-client")
}

// BenchmarkChangePerClient is what one change among n resources costs for each client that has everything.
func BenchmarkChangePerClient(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const clients = 100
			c := newDeltaCache(wire.TypeAddress, addressesOf)
			all := change{update: map[string][]byte{}}
			for i := range n {
				all.update[fmt.Sprint("pod-", i)] = make([]byte, 200)
			}
			if err := c.set(all); err != nil {
				b.Fatal(err)
			}
			subs := make([]stream.Subscription, clients)
			out := make([]chan cache.DeltaResponse, clients)
			request := &cache.DeltaRequest{TypeUrl: wire.TypeAddress}
			ask := func(i int) {
				if _, err := c.CreateDeltaWatch(request, &subs[i], out[i]); err != nil {
					b.Fatal(err)
				}
			}
			for i := range subs {
				subs[i], out[i] = stream.NewDeltaSubscription(nil, nil, nil, true), make(chan cache.DeltaResponse, 2)
				ask(i)
				subs[i].SetReturnedResources((<-out[i]).GetReturnedResources())
				ask(i)
			}
			for round := 0; b.Loop(); round++ {
				if err := c.set(change{update: map[string][]byte{"pod-7": fmt.Appendf(nil, "%200d", round)}}); err != nil {
					b.Fatal(err)
				}
				for i := range subs {
					subs[i].SetReturnedResources((<-out[i]).GetReturnedResources())
					ask(i)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/clients, "ns/client")
		})
	}
}
