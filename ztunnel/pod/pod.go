// Package pod is an enrolled pod of this node as the handlers of its connections see it: who it is, and
// how to make connections as if from inside it.
package pod

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

// UnknownFor is how long a connection waits for the controller to make its pod known.
const UnknownFor = 2 * time.Second

// Network makes connections in a pod's network namespace.
type Network interface {
	// Dial connects to the outside, past the redirection of the pod's own connections.
	Dial(ctx context.Context, dst netip.AddrPort) (relay.Conn, error)
	// DialApp connects to the pod's application over loopback. The application sees client as its peer;
	// an invalid client, or one of another family than dst, is replaced by the pod's own address.
	DialApp(ctx context.Context, client netip.Addr, dst netip.AddrPort) (relay.Conn, error)
}

// Space is a pod's network namespace in the kernel.
type Space interface {
	// Cookie is its number, never used twice.
	Cookie() uint64
	// DestroyConn ends one connection.
	DestroyConn(local, remote netip.AddrPort) error
	// DestroyMarked ends connections whose sockets bear a mark.
	DestroyMarked(mark uint32, match func(local, remote netip.AddrPort) bool) (int, error)
	// ListMarked lists such connections.
	ListMarked(mark uint32) ([]netns.Marked, error)
}

// Pod is one enrolled pod. It is not changed after it was made.
type Pod struct {
	UID       string // of the agent, not the controller's
	Namespace string
	Name      string
	Identity  identity.Identity
	Network   Network
	Space     Space // nil: it has none in this kernel
	State     *state.State
	Refusal   func() *flow.Failure // why no connection may be added now, whoever asks; nil: never

	mu     sync.Mutex // protects what follows
	key    string
	of     *model.Workload
	labels telemetry.Peer
}

// Key is how flows name the pod.
func (p *Pod) Key() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.key == "" {
		p.key = p.Namespace + "/" + p.Name // once, for all connections
	}
	return p.key
}

// Workload is what the controller says of this pod, of whom a new connection is, or why it cannot be had: there may
// be nothing to decide on, or no memory.
func (p *Pod) Workload(ctx context.Context) (*model.Workload, *flow.Failure) {
	if p.Refusal != nil {
		if f := p.Refusal(); f != nil {
			return nil, f
		}
	}
	if !p.State.Synced() {
		return nil, flow.NoConfiguration()
	}
	w := p.State.WaitPod(ctx, p.Namespace, p.Name, UnknownFor)
	if w == nil {
		return nil, flow.UnknownPod(p.Namespace, p.Name)
	}
	if w.Identity() != p.Identity {
		return nil, &flow.Failure{Flag: telemetry.FlagNoRoute, Cause: "identity of pod " + p.Key() + " is not clear",
			Hint: "the agent enrolled it as " + p.Identity.String() + ", the controller says " + w.Identity().String() +
				": a pod of the same name may just have been replaced"}
	}
	return w, nil
}

// Labels are those of the pod's workload, made once for each version of it.
func (p *Pod) Labels(w *model.Workload) telemetry.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of != w {
		p.of, p.labels = w, flow.PeerOf(w)
	}
	return p.labels
}
