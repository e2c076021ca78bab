package direct

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"go.uber.org/zap"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kernelMaps(t *testing.T) map[string]*ebpf.Map {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must provide it")
		}
		t.Skip("needs root: eBPF")
	}
	out := map[string]*ebpf.Map{}
	for name, s := range map[string]ebpf.MapSpec{
		MapAllow:    {Type: ebpf.Hash, KeySize: 24, ValueSize: 8, MaxEntries: 2},
		MapIdents:   {Type: ebpf.Hash, KeySize: 16, ValueSize: 16, MaxEntries: 8},
		MapServices: {Type: ebpf.Hash, KeySize: 32, ValueSize: 328, MaxEntries: 2},
		MapLease:    {Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1},
		MapEvents:   {Type: ebpf.RingBuf, MaxEntries: 4096},
	} {
		m, err := ebpf.NewMap(&s)
		must(t, err)
		t.Cleanup(func() { m.Close() })
		out[name] = m
	}
	return out
}

// Maps are handed to one ztunnel at a time, and what it does with them is what the kernel has.
func TestHand(t *testing.T) {
	maps := kernelMaps(t)
	path := PathBeside(filepath.Join(t.TempDir(), "zds.sock"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Hand(ctx, path, maps, zap.NewNop()) }()
	take := func(limit time.Duration) (*Maps, net.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		for {
			m, c, err := Take(ctx, path)
			if err == nil || ctx.Err() != nil {
				return m, c, err
			}
			time.Sleep(time.Millisecond) // it does not listen yet
		}
	}
	m, c, err := take(10 * time.Second)
	must(t, err)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", st.Mode(), err)
	}
	if _, _, err := take(50 * time.Millisecond); err == nil {
		t.Error("a second ztunnel got the maps")
	}
	use(t, m, maps)
	must(t, m.Close())
	c.Close()
	m, c, err = take(10 * time.Second)
	must(t, err)
	if pairs, err := m.Pairs(); err != nil || len(pairs) != 1 {
		t.Errorf("the next one finds %v %v", pairs, err)
	}
	must(t, m.Close())
	c.Close()
	cancel()
	must(t, <-done)
}

func use(t *testing.T, m *Maps, maps map[string]*ebpf.Map) {
	t.Helper()
	at := netip.MustParseAddrPort("10.0.0.2:80")
	must(t, maps[MapIdents].Put(at.Addr().As16(), Ident{NS: 2}))
	if ns, ok := m.At(at.Addr()); !ok || ns != 2 {
		t.Errorf("%v is at %d %v", at, ns, ok)
	}
	if _, ok := m.At(netip.MustParseAddr("10.0.0.3")); ok {
		t.Error("an unknown address is known")
	}
	pairs := []Pair{PairOf(1, 2, at), PairOf(1, 2, netip.MustParseAddrPort("[fd00::2]:80")), PairOf(1, 3, at)}
	for _, p := range pairs[:2] {
		must(t, m.Permit(p))
		must(t, m.Permit(p)) // again
	}
	if err := m.Permit(pairs[2]); err != ErrFull {
		t.Errorf("beyond the room: %v", err)
	}
	must(t, m.Forbid(pairs[0]))
	must(t, m.Forbid(pairs[0]))
	if got, err := m.Pairs(); err != nil || len(got) != 1 || got[0] != pairs[1] {
		t.Errorf("permitted %v %v", got, err)
	}
	before := Now()
	must(t, m.Renew(time.Minute))
	var until uint64
	must(t, maps[MapLease].Lookup(uint32(0), &until))
	if d := time.Duration(until) - before; d < time.Minute || d > 2*time.Minute {
		t.Errorf("the lease runs %v", d)
	}
	must(t, m.Read(func(e Event) { t.Errorf("event %+v", e) }))
}

// An agent of another version, or something else altogether, is no agent.
func TestTakeFromStrangers(t *testing.T) {
	for what, say := range map[string]string{"nothing": "", "other version": `{"version":2}`, "no maps": `{"version":1}`, "names without maps": `{"version":1,"maps":["allow"]}`, "noise": "hello"} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		must(t, err)
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte(say))
				c.Close()
			}
		}()
		if _, _, err := Take(t.Context(), path); err == nil {
			t.Errorf("%s: no error", what)
		}
		l.Close()
	}
}

// Forget is about what is pinned; where nothing is, there is nothing to do.
func TestForgetNothing(t *testing.T) {
	must(t, Forget(t.TempDir(), []netip.Addr{netip.MustParseAddr("10.0.0.1")}))
}

func TestParse(t *testing.T) {
	b := make([]byte, eventSize)
	ne := binary.NativeEndian
	for i, v := range []uint64{11, 12, 13, 102, 51} {
		ne.PutUint64(b[8*i:], v)
	}
	for i, a := range []string{"10.0.0.1", "fd00::2"} {
		x := netip.MustParseAddr(a).As16()
		copy(b[40+16*i:], x[:])
		ne.PutUint16(b[88+2*i:], uint16(80+i))
	}
	ne.PutUint16(b[94:], uint16(Closed))
	e, ok := parse(b)
	want := Event{Kind: Closed, At: 11, Socket: 12, NS: 13, Sent: 100, Received: 50,
		Local: netip.MustParseAddrPort("10.0.0.1:80"), Remote: netip.MustParseAddrPort("[fd00::2]:81")}
	if !ok || e != want {
		t.Errorf("%+v, want %+v", e, want)
	}
	if _, ok := parse(b[:eventSize-1]); ok {
		t.Error("half an event")
	}
}
