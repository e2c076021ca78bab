package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/telemetry"
)

type bench struct {
	*Table
	metrics *telemetry.Metrics
	log     bytes.Buffer
}

func newBench() *bench {
	b := &bench{metrics: telemetry.NewMetrics(telemetry.Options{})}
	b.Table = NewTable(TableOptions{Metrics: b.metrics, Log: telemetry.NewAccessLog(&b.log, telemetry.FormatJSON)})
	return b
}

// counters are the connection metrics as name{flags} value.
func (b *bench) counters(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := b.metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), "weft_tcp_")
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "response_flags" {
					out[name+"{"+l.GetValue()+"}"] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}

func (b *bench) lastLine(t *testing.T) map[string]any {
	t.Helper()
	b.Table.log.Flush(10 * time.Second)
	lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestGoodConnection(t *testing.T) {
	b := newBench()
	f := &Flow{Pod: "shop/cart-1", PodUID: "1", Direction: Outbound}
	b.Open(f)
	f.Established()
	f.Sent.Add(10)
	f.Received.Add(20)
	got := b.counters(t)
	if got["sent_bytes_total{-}"] != 10 || got["received_bytes_total{-}"] != 20 || got["connections_closed_total{-}"] != 0 {
		t.Errorf("while it lives: %v", got)
	}
	f.Sent.Add(5)
	f.End(nil)
	f.End(&Failure{Flag: telemetry.FlagDenied}) // ended already
	got = b.counters(t)
	if got["sent_bytes_total{-}"] != 15 || got["connections_closed_total{-}"] != 1 || got["connections_opened_total{-}"] != 1 || len(got) != 4 {
		t.Errorf("afterwards: %v", got)
	}
	if l := b.lastLine(t); l["bytes_sent"] != 15.0 || l["flags"] != "-" || l["cause"] != nil {
		t.Errorf("log: %v", l)
	}
	if b.Len() != 0 {
		t.Error("still in the table")
	}
}

func TestRefusedConnection(t *testing.T) {
	b := newBench()
	f := &Flow{Direction: Inbound}
	b.Open(f)
	f.End(Denied("shop/only-cart", "no rule of it matches"))
	got := b.counters(t)
	if got["connections_opened_total{UAEX}"] != 1 || got["connections_closed_total{UAEX}"] != 1 || len(got) != 2 {
		t.Errorf("%v", got)
	}
	if l := b.lastLine(t); l["policy"] != "shop/only-cart" || l["cause"] != "refused by policy: no rule of it matches" || l["hint"] == "" {
		t.Errorf("log: %v", l)
	}
}

func TestKill(t *testing.T) {
	b := newBench()
	f := &Flow{PodUID: "1"}
	b.Open(f)
	resets := 0
	f.OnKill(func() { resets++ })
	f.Established()
	other := &Flow{PodUID: "2"}
	b.Open(other)
	b.Kill("1", PodGone())
	b.Kill("1", Draining())
	if resets != 1 || f.Killed() == nil || other.Killed() != nil {
		t.Errorf("%d resets, killed %v, other %v", resets, f.Killed(), other.Killed())
	}
	f.End(Broken(unix.ECONNRESET))
	if l := b.lastLine(t); l["cause"] != PodGone().Cause {
		t.Errorf("the first cause must win: %v", l)
	}
	f.Kill(Draining()) // after the end: nothing happens
	if resets != 1 {
		t.Error("reset after the end")
	}
	late := 0
	other.Kill(Draining())
	other.OnKill(func() { late++ })
	if late != 1 {
		t.Error("a kill that came before OnKill was lost")
	}
	other.End(nil)
}

func TestGoverned(t *testing.T) {
	b := newBench()
	f := &Flow{}
	b.Open(f)
	if _, ok := f.Governed(); ok {
		t.Error("governed by nothing")
	}
	c := policy.Conn{Dest: netip.MustParseAddrPort("10.0.0.1:80")}
	f.Govern(c)
	if got, ok := f.Governed(); !ok || got != c {
		t.Error(got, ok)
	}
	f.End(nil)
}

// Everything at once, for the race detector and the count.
func TestConcurrentUse(t *testing.T) {
	b := newBench()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			for range 50 {
				f := &Flow{PodUID: fmt.Sprint(i)}
				b.Open(f)
				f.Govern(policy.Conn{Dest: netip.MustParseAddrPort("10.0.0.1:80")})
				f.OnKill(func() {})
				f.Established()
				f.Sent.Add(1)
				f.End(nil)
			}
		})
	}
	for range 20 {
		b.Kill("7", PodGone())
		b.Views()
		b.counters(t)
	}
	wg.Wait()
	opened := 0.0
	sent := 0.0
	for k, v := range b.counters(t) {
		if strings.HasPrefix(k, "connections_opened_total{-}") {
			opened += v
		}
		if strings.HasPrefix(k, "sent") {
			sent += v
		}
	}
	if b.Len() != 0 || opened != 2500 || sent != 2500 {
		t.Errorf("%d left, %v opened, %v sent", b.Len(), opened, sent)
	}
}

func TestDialHints(t *testing.T) {
	for _, c := range []struct {
		err  error
		flag telemetry.Flag
		hint string
	}{
		{unix.ECONNREFUSED, telemetry.FlagConnectFailure, "nothing listens"},
		{context.DeadlineExceeded, telemetry.FlagConnectFailure, "15008"},
		{unix.EHOSTUNREACH, telemetry.FlagConnectFailure, "no route"},
		{unix.EMFILE, telemetry.FlagOverload, "descriptors"},
		{errors.New("odd"), telemetry.FlagConnectFailure, ""},
	} {
		f := Dial("pod shop/cart-1", fmt.Errorf("dial: %w", c.err))
		if f.Flag != c.flag || !strings.Contains(f.Hint, c.hint) || !errors.Is(f, c.err) {
			t.Errorf("%v: %v", c.err, f)
		}
	}
	if Broken(nil) != nil {
		t.Error("an orderly end is no failure")
	}
}

func BenchmarkLife(b *testing.B) {
	x := newBench()
	x.Table.log = nil
	b.ReportAllocs()
	for b.Loop() {
		f := &Flow{}
		x.Open(f)
		f.Established()
		f.End(nil)
	}
}

// Flows between the same workloads, of which a node may have tens of thousands, share what is the same of them.
func TestEstablishedFlowsShare(t *testing.T) {
	if n := unsafe.Sizeof(Flow{}); n > 640 {
		t.Errorf("a Flow has %d bytes; what is more than 640 costs each connection 64 more", n)
	}
	b := newBench()
	open := func() *Flow {
		id := func(name string) string { return "spiffe://cluster.local/ns/shop/sa/" + name }
		f := &Flow{Direction: Outbound, Labels: &telemetry.Labels{
			Reporter: telemetry.ReporterSource, Source: telemetry.Peer{Principal: id("front")}, Destination: telemetry.Peer{Principal: id("cart")},
		}}
		f.Source.Identity, f.Dest.Identity = id("front"), id("cart")
		f.SetService(&model.Service{Hostname: strings.Clone("cart.shop.svc.cluster.local"), Name: "cart", Namespace: "shop"})
		b.Open(f)
		f.Established()
		return f
	}
	one, two := open(), open()
	for _, s := range [][2]string{
		{one.Source.Identity, two.Source.Identity}, {one.Dest.Identity, two.Dest.Identity}, {one.Service, two.Service},
		{one.labelled().Source.Principal, two.Source.Identity},
	} {
		if s[0] != s[1] || unsafe.StringData(s[0]) != unsafe.StringData(s[1]) {
			t.Errorf("%q and %q are not the same", s[0], s[1])
		}
	}
	if one.Labels != nil || one.labelled() != two.labelled() || one.series != two.series {
		t.Error("their labels are not shared")
	}
}
