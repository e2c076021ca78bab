package ztunnel_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/state"
)

// A pod that came a moment ago has an address before this ztunnel hears of it. A connection to it waits, and goes
// through a tunnel once it is known.
func TestNewcomerIsWaitedFor(t *testing.T) {
	m := shop(t)
	m.apply(state.Delta{Ranges: []*model.Range{{Prefix: netip.MustParsePrefix("10.244.2.0/24")}}})
	late := workload("n2", "cart-2", "10.244.2.2")
	m.serve("10.244.2.2:8080", echo)
	m.nodes["n2"].State.Apply(state.Delta{Workloads: []*model.Workload{late}})
	m.enrol("n2", "cart-2", "10.244.2.2")
	answer := make(chan string, 1)
	go func() {
		got, err := say(m.pods["front-1"].app("10.244.2.2:8080"), "hello")
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	for m.nodes["n1"].open() == 0 { // until it has come
		select {
		case got := <-answer:
			t.Fatalf("not waited for: %s", got)
		case <-time.After(time.Millisecond):
		}
	}
	m.nodes["n1"].State.Apply(state.Delta{Workloads: []*model.Workload{late}})
	if got := <-answer; got != "hello" {
		t.Error(got)
	}
	if len(m.plainSeen) != 0 {
		t.Errorf("sent in clear text to %v", m.plainSeen)
	}
}

// open counts connections, also those that are not established.
func (n *node) open() (count int) {
	n.Flows.Each(func(*flow.Flow) { count++ })
	return count
}

// Of whom nothing comes to be known, nothing is sent to.
func TestUnknownPodIsRefused(t *testing.T) {
	m := shop(t)
	m.apply(state.Delta{Ranges: []*model.Range{{Prefix: netip.MustParsePrefix("10.244.2.0/24")}}})
	if got, err := say(m.pods["front-1"].app("10.244.2.200:8080"), "hello"); err == nil {
		t.Errorf("answered %q", got)
	}
	m.nodes["n1"].record(t, map[string]any{"direction": "outbound", "flags": "NR", "dst_dialled": "10.244.2.200:8080",
		"cause": "nobody is known at 10.244.2.200, which is of the range of pods 10.244.2.0/24"})
	if slices.Contains(m.plainSeen, netip.MustParseAddrPort("10.244.2.200:8080")) {
		t.Error("sent in clear text")
	}
}
