package main

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/direct"
)

// The agent hands the maps of the direct path to a ztunnel, and they say which pods may talk directly: by the label
// of their namespace, with the next agent too, and not any more once they have left the mesh.
func TestDirect(t *testing.T) {
	n := newNode(t)
	n.addPod("a", "10.78.0.11")
	at := netip.MustParseAddr("10.78.0.11")
	n.write("")
	agent := n.agent()
	n.ztunnel("z1")
	eventually(t, "announced", func() bool { return n.announced("a") })
	take := func() (*direct.Maps, net.Conn) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m, c, err := direct.Take(ctx, direct.PathBeside(n.zds()))
		must(t, err)
		t.Cleanup(func() { m.Close(); c.Close() })
		return m, c
	}
	known := func(m *direct.Maps) bool {
		ns, ok := m.At(at)
		return ok && ns == n.pod("a").Cookie()
	}
	m, _ := take()
	if known(m) {
		t.Error("off by default, and the pod may talk directly")
	}
	n.write("ambient, weft.dev/same-node: direct")
	eventually(t, "it may talk directly", func() bool { return known(m) })
	if v := n.view("a"); !v.Direct {
		t.Errorf("the page does not say so: %+v", v)
	}
	_ = agent.end(syscall.SIGKILL)
	if !known(m) {
		t.Error("with no agent it may not any more")
	}
	n.agent()
	eventually(t, "adopted", func() bool { return n.view("a").Direct })
	next, _ := take()
	if !known(next) {
		t.Error("the next agent has other maps")
	}
	n.write("ambient, weft.dev/same-node: encrypt")
	eventually(t, "it is encrypted", func() bool { return !known(next) })
	n.write("ambient, weft.dev/same-node: yes")
	eventually(t, "looked at", func() bool { return n.view("a").State == "enrolled" })
	if known(next) {
		t.Error("a value that is unknown turned it on")
	}
	n.write("ambient, weft.dev/same-node: direct")
	eventually(t, "again", func() bool { return known(next) })
	n.write("none")
	eventually(t, "left", func() bool { return !known(next) })
}
