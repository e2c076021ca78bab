package zds

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An agent written by hand.
func TestProxyOnTheWire(t *testing.T) {
	path, accept := listenRaw(t)
	h, _ := startProxy(t, path)
	r := accept()
	if msg, _ := r.recv(); msg != helloV1 {
		t.Fatalf("hello: %q", msg)
	}
	ns := file(t, "ns-of-p1")
	for _, step := range []struct{ send, want string }{
		{keepBytes("p0"), ackOK},
		{keepBytes("unknown"), ackError("never added")},
		{snapshotSent, ackOK},
		{delBytes("p1"), ackOK},
		{field(9, "from the future"), ackError("a request that this ztunnel does not know")},
	} {
		r.send(step.send)
		if msg, _ := r.recv(); msg != step.want {
			t.Errorf("%q: got %q, want %q", step.send, msg, step.want)
		}
	}
	r.send(addBytes("p1"), int(ns.Fd()))
	if msg, _ := r.recv(); msg != ackOK {
		t.Errorf("add: %q", msg)
	}
	r.send(addBytes("bad"), int(ns.Fd()))
	if msg, _ := r.recv(); msg != ackError("no certificate for ?bad") {
		t.Errorf("add: %q", msg)
	}
	want := []string{"connected", "keep p0", "keep unknown", "snapshot", "del p1", "add p1 shop/n-p1/sa ns-of-p1", "add bad shop/n-bad/sa ns-of-p1"}
	if got := h.all(); !slices.Equal(got, want) {
		t.Errorf("handler saw %q", got)
	}
}

func TestProxyRefusesIncompleteAdds(t *testing.T) {
	path, accept := listenRaw(t)
	h, _ := startProxy(t, path)
	r := accept()
	r.recv()
	ns := int(file(t, "ns").Fd())
	for _, step := range []struct {
		send string
		fds  []int
		want string
	}{
		{addBytes("p1"), nil, "came with 0 file descriptors"},
		{addBytes("p1"), []int{ns, ns}, "came with 2 file descriptors"},
		{field(1, field(1, "p1")), []int{ns}, "does not say who the pod is"},
		{field(1, field(2, field(1, "n")+field(2, "ns")+field(3, "sa"))), []int{ns}, "without a uid"},
	} {
		r.send(step.send, step.fds...)
		if msg, _ := r.recv(); !strings.Contains(msg, step.want) {
			t.Errorf("got %q, want %q", msg, step.want)
		}
	}
	if got := h.all(); len(got) != 1 {
		t.Errorf("handler saw %q", got)
	}
}

// Pods start at once, Acks keep the order of the requests, and other requests wait for pods that start.
func TestProxyOrder(t *testing.T) {
	path, accept := listenRaw(t)
	h, _ := startProxy(t, path)
	r := accept()
	r.recv()
	ns := int(file(t, "ns").Fd())
	r.send(addBytes("slow"), ns)
	r.send(addBytes("bad1"), ns)
	r.send(addBytes("p2"), ns)
	r.send(delBytes("slow"))
	eventually(t, "the quick ones", func() bool {
		return h.has("add bad1 shop/n-bad1/sa ns") && h.has("add p2 shop/n-p2/sa ns")
	})
	if h.has("del slow") {
		t.Error("removed before it was there")
	}
	close(h.gate)
	for i, want := range []string{ackOK, ackError("no certificate for ?bad1"), ackOK, ackOK} {
		if msg, _ := r.recv(); msg != want {
			t.Errorf("ack %d: %q, want %q", i, msg, want)
		}
	}
	if got := h.all(); got[len(got)-1] != "del slow" {
		t.Errorf("%q", got)
	}
}

func TestProxyReconnects(t *testing.T) {
	path, accept := listenRaw(t)
	h, _ := startProxy(t, path)
	for i, end := range []string{"close", "no protobuf \xff\xff", strings.Repeat("x", packetRoom+1), "close"} {
		r := accept()
		if msg, _ := r.recv(); msg != helloV1 {
			t.Fatalf("connection %d: %q", i, msg)
		}
		if end != "close" {
			r.send(end)
			if msg, _ := r.recv(); msg != "" {
				t.Errorf("answered %q", msg)
			}
		}
		r.close()
	}
	accept()
	eventually(t, "all connections", func() bool { return len(h.all()) == 5 })
}

// Agent and ztunnel restart in either order: the list is told anew, pods are kept.
func TestRestarts(t *testing.T) {
	pods := []Pod{podOf(t, "p1"), podOf(t, "p2")}
	a, d, stop := startAgent(t, AgentOptions{}, pods...)
	h, stopProxy := startProxy(t, a.o.Path)
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	stop()
	_, d, _ = startAgent(t, AgentOptions{Path: a.o.Path}, pods[0], Pod{UID: "p2", Info: pods[1].Info})
	eventually(t, "synced with the new agent", func() bool { return d.has("synced 1") })
	got := h.all()[4:]
	slices.Sort(got[1:3])
	if want := []string{"connected", "add p1 shop/n-p1/sa p1", "keep p2", "snapshot"}; !slices.Equal(got, want) {
		t.Errorf("after the agent's restart: %q", got)
	}
	stopProxy()
	h, _ = startProxy(t, a.o.Path)
	eventually(t, "synced with the new ztunnel", func() bool { return d.has("synced 2") && h.has("snapshot") })
}

func TestNoDescriptorIsLost(t *testing.T) {
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	before := count()
	t.Run("traffic", func(t *testing.T) {
		a, d, _ := startAgent(t, AgentOptions{})
		_, stop := startProxy(t, a.o.Path)
		eventually(t, "synced", func() bool { return d.has("synced 1") })
		p := podOf(t, "p")
		for i := range 200 {
			p.UID = fmt.Sprintf("p%d", i%7)
			if _, err := a.Add(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				if err := a.Del(t.Context(), p.UID); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := dialRaw(t, a.o.Path)
		r.send(helloV1, unix.Stdin, unix.Stdin) // files that nobody wants
		r.recv()
		stop()
	})
	eventually(t, "all closed", func() bool { return count() <= before })
}
