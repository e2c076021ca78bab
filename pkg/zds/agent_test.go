package zds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A ztunnel written by hand: what it sees is exactly what the protocol says, byte for byte.
func TestAgentOnTheWire(t *testing.T) {
	kept := Pod{UID: "k1", Info: WorkloadInfo{Name: "n-k1", Namespace: "shop", ServiceAccount: "sa"}}
	a, d, _ := startAgent(t, AgentOptions{}, podOf(t, "p1"), kept)
	r := dialRaw(t, a.o.Path)
	r.send(helloV1)
	first := map[string]string{}
	for range 2 { // in any order
		msg, file := r.recv()
		first[msg] = file
	}
	if f, ok := first[addBytes("p1")]; !ok || f != "p1" {
		t.Errorf("AddWorkload: %q", first)
	}
	if _, ok := first[keepBytes("k1")]; !ok {
		t.Errorf("KeepWorkload: %q", first)
	}
	r.send(ackOK)
	r.send(ackOK)
	if msg, _ := r.recv(); msg != snapshotSent {
		t.Errorf("SnapshotSent: %q", msg)
	}
	r.send(ackOK)
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	if got := d.all(); !slices.Equal(got, []string{"connected 1", "added 1 p1 <nil>", "synced 1"}) {
		t.Errorf("events: %q", got)
	}

	answered := make(chan error, 1)
	go func() {
		peer, err := a.Add(t.Context(), podOf(t, "p2"))
		if peer.PID != os.Getpid() || peer.ID != 1 {
			t.Errorf("peer %+v", peer)
		}
		answered <- err
	}()
	if msg, file := r.recv(); msg != addBytes("p2") || file != "p2" {
		t.Errorf("%q with %q", msg, file)
	}
	r.send(ackError("certificate is not ready"))
	if err := <-answered; !errors.Is(err, ErrRefused) || err.Error() != "pod shop/n-p2: ztunnel refused: certificate is not ready" {
		t.Error(err)
	}
	go func() { answered <- a.Del(context.Background(), "p1") }()
	if msg, file := r.recv(); msg != delBytes("p1") || file != "" {
		t.Errorf("%q with %q", msg, file)
	}
	r.send(ackOK)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestAddWithoutZtunnelIsToldLater(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{})
	if _, err := a.Add(t.Context(), podOf(t, "p1")); !errors.Is(err, ErrNoProxy) {
		t.Fatal(err)
	}
	if !a.Current().IsZero() {
		t.Error("a ztunnel from nowhere")
	}
	h, _ := startProxy(t, a.o.Path)
	eventually(t, "snapshot", func() bool { return d.has("synced 1") })
	want := []string{"connected", "add p1 shop/n-p1/sa p1", "snapshot"}
	if got := h.all(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestBadPeersAreDisconnected(t *testing.T) {
	for name, say := range map[string]string{
		"another version": "\x08\x02", "no protobuf": "GET / HTTP/1.1\r\n\r\n", "no version": field(9, "x"), "too long": string(make([]byte, packetRoom+1)),
	} {
		t.Run(name, func(t *testing.T) {
			a, d, _ := startAgent(t, AgentOptions{}, podOf(t, "p1"))
			r := dialRaw(t, a.o.Path)
			r.send(say)
			if msg, file := r.recv(); msg != "" || file != "" {
				t.Errorf("was sent %q with %q", msg, file)
			}
			if got := d.all(); len(got) > 0 {
				t.Error(got)
			}
		})
	}
	t.Run("silent", func(t *testing.T) {
		a, _, _ := startAgent(t, AgentOptions{HelloTimeout: 20 * time.Millisecond}, podOf(t, "p1"))
		if msg, _ := dialRaw(t, a.o.Path).recv(); msg != "" {
			t.Errorf("was sent %q", msg)
		}
	})
}

func TestHangingZtunnelIsDropped(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{AckTimeout: 30 * time.Millisecond}, podOf(t, "p1"))
	r := dialRaw(t, a.o.Path)
	r.send(helloV1)
	r.recv()
	eventually(t, "gone", func() bool { return d.has("gone 1") })
	if len(a.Peers()) != 0 {
		t.Error("still there")
	}
	// An idle connection, on the other hand, lives.
	a, d, _ = startAgent(t, AgentOptions{AckTimeout: 30 * time.Millisecond})
	h, _ := startProxy(t, a.o.Path)
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	time.Sleep(100 * time.Millisecond) // longer than the timeout, with nothing asked
	if _, err := a.Add(t.Context(), podOf(t, "p1")); err != nil || d.has("gone 1") {
		t.Error(err, d.all(), h.all())
	}
}

func TestUnaskedAckEndsConnection(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{})
	r := dialRaw(t, a.o.Path)
	r.send(helloV1)
	r.recv()
	r.send(ackOK)
	r.send(ackOK)
	eventually(t, "gone", func() bool { return d.has("gone 1") })
}

// While a ztunnel replaces another, both are connected: the latest gets new pods, both hear of removed ones.
func TestTwoZtunnels(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{}, podOf(t, "p1"))
	old, stopOld := startProxy(t, a.o.Path)
	eventually(t, "old", func() bool { return d.has("synced 1") })
	successor, _ := startProxy(t, a.o.Path)
	eventually(t, "successor", func() bool { return d.has("synced 2") })
	peer, err := a.Add(t.Context(), podOf(t, "p2"))
	if err != nil || peer.ID != 2 || a.Current().ID != 2 {
		t.Error(peer, err)
	}
	if err := a.Del(t.Context(), "p1"); err != nil {
		t.Error(err)
	}
	if !old.has("del p1") || !successor.has("del p1") || old.has("add p2 shop/n-p2/sa p2") {
		t.Error(old.all(), successor.all())
	}
	stopOld()
	eventually(t, "gone", func() bool { return len(a.Peers()) == 1 })
	if _, err := a.Add(t.Context(), podOf(t, "p3")); err != nil {
		t.Error(err)
	}
}

func TestLatestGoesThenFormerIsCurrent(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{})
	startProxy(t, a.o.Path)
	eventually(t, "first", func() bool { return d.has("synced 1") })
	r := dialRaw(t, a.o.Path)
	r.send(helloV1)
	eventually(t, "second", func() bool { return a.Current().ID == 2 })
	r.close()
	eventually(t, "first again", func() bool { return a.Current().ID == 1 })
	if _, err := a.Add(t.Context(), podOf(t, "p1")); err != nil {
		t.Error(err)
	}
}

// A pod removed while the list is being told must not reappear, nor be sent with another file.
func TestDelOvertakesList(t *testing.T) {
	const n = 100
	var pods []Pod
	for i := range n {
		pods = append(pods, podOf(t, fmt.Sprintf("p%d", i)))
	}
	a, d, _ := startAgent(t, AgentOptions{}, pods...)
	h, _ := startProxy(t, a.o.Path)
	eventually(t, "connected", func() bool { return d.has("connected 1") })
	for i := range n {
		if err := a.Del(t.Context(), fmt.Sprintf("p%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	last := map[string]string{}
	for _, l := range h.all() {
		var verb, uid, who, ns string
		fmt.Sscan(l, &verb, &uid, &who, &ns)
		if verb == "add" && ns != uid {
			t.Errorf("wrong file: %s", l)
		}
		last[uid] = verb
	}
	for uid, verb := range last {
		if uid != "" && verb != "del" {
			t.Errorf("last word on %s: %s", uid, verb)
		}
	}
}

func TestDisconnectFailsWhatIsOpen(t *testing.T) {
	a, d, _ := startAgent(t, AgentOptions{})
	r := dialRaw(t, a.o.Path)
	r.send(helloV1)
	r.recv()
	r.send(ackOK)
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	answers := make(chan error)
	for i := range 2 * window { // some sent, some queued
		go func() {
			_, err := a.Add(context.Background(), podOf(t, fmt.Sprintf("p%d", i)))
			answers <- err
		}()
	}
	for range window {
		r.recv()
	}
	r.close()
	for range 2 * window {
		if err := <-answers; !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrNoProxy) {
			t.Error(err)
		}
	}
}

func TestSocketIsPrivateAndSingle(t *testing.T) {
	a, _, stop := startAgent(t, AgentOptions{})
	eventually(t, "mode", func() bool {
		fi, err := os.Stat(a.o.Path)
		return err == nil && fi.Mode().Perm() == 0o600
	})
	if err := NewAgent(AgentOptions{Path: a.o.Path}).Run(t.Context()); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	stop()
	// What a killed agent leaves is taken over.
	fd := socket(t)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: a.o.Path}), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	_, d, _ := startAgent(t, AgentOptions{Path: a.o.Path})
	startProxy(t, a.o.Path)
	eventually(t, "synced", func() bool { return d.has("synced 1") })
	if err := NewAgent(AgentOptions{Path: filepath.Join(t.TempDir(), "no", "\x00")}).Run(t.Context()); err == nil {
		t.Error("listens nowhere")
	}
}
