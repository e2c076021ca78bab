package harness

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/weftmesh/weft/pkg/lab/capture"
)

// Wire watches the links of all nodes: what a node sends to another passes there.
type Wire struct {
	env     *Env
	marks   []string
	stop    context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex // protects all below
	members map[netip.Addr]string
	seen    WireReport
	past    []capture.Frame // frames of members past the tunnel, also without payload
	err     error
}

// WireReport is what was seen on the links.
type WireReport struct {
	Frames int
	// Tunnel are bytes to and from port 15008, Hellos the TLS handshakes that began there.
	Tunnel, Hellos int
	// Clear are packets with a mark in clear text, and bytes that a pod of the mesh sent or was answered past the tunnel.
	Clear []string
	// NotTLS are connections to port 15008 that are no TLS.
	NotTLS []string
	// Other are TCP payload bytes by "from → to", of what neither is the tunnel nor the control plane's.
	Other map[string]int
}

// captureLength is how much is held in memory until it is read.
const captureLength = 5 * time.Second

// ErrNoLinks tells that the cluster's links cannot be watched from here.
var ErrNoLinks = errors.New("the nodes' links are not on this machine")

// Watch begins to watch. Marks are texts that only clear text of the mesh's pods holds.
func (e *Env) Watch(ctx context.Context, marks ...string) (*Wire, error) {
	if e.Cluster == nil {
		return nil, ErrNoLinks
	}
	ctx, stop := context.WithCancel(ctx)
	w := &Wire{env: e, marks: marks, stop: stop, members: map[netip.Addr]string{}, seen: WireReport{Other: map[string]int{}}}
	for _, node := range e.Cluster.Nodes() {
		link, err := e.Cluster.Link(node)
		if err != nil {
			stop()
			return nil, err
		}
		first, err := capture.Start(link)
		if err != nil {
			stop()
			return nil, err
		}
		w.done.Go(func() { w.watch(ctx, link, first) })
	}
	return w, nil
}

// Member tells the witness the address of a pod that is in the mesh and talks to others of it alone: none of its
// connections may pass the tunnel by. Addresses of pods that are gone stay members until Stop.
func (w *Wire) Member(ip, name string) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.members[addr] = name
}

// watch captures without a gap: the next capture begins before the last one ends. A link that goes away with its node
// is looked for until it is there again.
func (w *Wire) watch(ctx context.Context, link string, last *capture.Capture) {
	for {
		select {
		case <-ctx.Done():
			w.read(link, last)
			return
		case <-time.After(captureLength):
		}
		next, err := capture.Start(link)
		w.read(link, last)
		for err != nil {
			select {
			case <-ctx.Done():
				return // the node is down at the end
			case <-time.After(20 * time.Millisecond):
			}
			next, err = capture.Start(link)
		}
		last = next
	}
}

func (w *Wire) read(link string, c *capture.Capture) {
	frames, err := c.Stop()
	r := capture.Analyse(frames, capture.Question{Markers: w.marks, Tunnel: 15008, Control: []uint16{6443, 10250, 15012}})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !linkGone(err) {
		w.err = errors.Join(w.err, fmt.Errorf("link %s: %w", link, err))
	}
	w.seen.Frames += r.Frames
	w.seen.Tunnel += r.Tunnel.Bytes
	w.seen.Hellos += r.Hellos
	w.seen.NotTLS = append(w.seen.NotTLS, r.NotTLS...)
	for _, c := range r.Clear {
		w.seen.Clear = append(w.seen.Clear, fmt.Sprintf("%s: …%s…", c.Flow, c.Excerpt))
	}
	past := len(r.Clear) > 0
	for flow, n := range r.Other.Flows {
		w.seen.Other[flow] += n
		from, _, _ := strings.Cut(flow, " → ")
		if src, err := netip.ParseAddr(from); err == nil && w.members[src] != "" {
			past = true
		}
	}
	if past {
		w.past = append(w.past, slices.DeleteFunc(frames, func(f capture.Frame) bool { return !w.pastTunnel(f) })...)
	}
}

// pastTunnel tells frames of TCP that have a member's address and not the tunnel's port.
func (w *Wire) pastTunnel(f capture.Frame) bool {
	p := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
	tcp, isTCP := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !isTCP || tcp.SrcPort == 15008 || tcp.DstPort == 15008 {
		return false
	}
	flow := p.NetworkLayer().NetworkFlow()
	for _, end := range []gopacket.Endpoint{flow.Src(), flow.Dst()} {
		if addr, ok := netip.AddrFromSlice(end.Raw()); ok && w.members[addr] != "" {
			return true
		}
	}
	return false
}

// KeepPast writes what members sent past the tunnel to a file for tcpdump, and tells how many frames there were.
func (w *Wire) KeepPast(file string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.past) == 0 {
		return 0, nil
	}
	return len(w.past), capture.WriteFile(file, w.past)
}

// Stop ends the watch and tells what was seen. It fails when frames were lost, for then it proves nothing.
func (w *Wire) Stop() (WireReport, error) {
	w.stop()
	w.done.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for flow, n := range w.seen.Other {
		from, to, _ := strings.Cut(flow, " → ")
		src, err := netip.ParseAddr(from)
		if err == nil && n > 0 && w.members[src] != "" {
			w.seen.Clear = append(w.seen.Clear, fmt.Sprintf("%s (%s) → %s: %d bytes past the tunnel", from, w.members[src], to, n))
		}
	}
	return w.seen, w.err
}

// linkGone tells that a capture ended with its link, which a node's power cut does.
func linkGone(err error) bool {
	return strings.Contains(err.Error(), "network is down") || strings.Contains(err.Error(), "no such device")
}
