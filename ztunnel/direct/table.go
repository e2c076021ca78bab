package direct

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/outbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
)

const (
	// lease is how long the direct path outlives a ztunnel, and renewEvery how often it is renewed.
	lease      = 15 * time.Second
	renewEvery = time.Second
	// readEvery is how often the kernel's events are read.
	readEvery = 100 * time.Millisecond
	// lookEvery is how often it is seen what living connections have moved.
	lookEvery = 5 * time.Second
	// gather waits for the rest of a burst of changes, well under the second within which they must bite.
	gather = 50 * time.Millisecond
	// retryEvery is how often an agent is asked for the maps that does not answer.
	retryEvery = time.Second
)

// Kernel is what is asked of the kernel: a *direct.Maps of pkg/direct.
type Kernel interface {
	Permit(kernel.Pair) error
	Forbid(kernel.Pair) error
	Pairs() ([]kernel.Pair, error)
	// At is the namespace of the pod that has an address and may talk directly.
	At(netip.Addr) (ns uint64, ok bool)
	Publish(v kernel.VIP, of int, here []netip.AddrPort) error
	Unpublish(kernel.VIP) error
	Published() ([]kernel.VIP, error)
	Renew(time.Duration) error
	Read(func(kernel.Event)) error
	Close() error
}

// Options of New. All without a default are required.
type Options struct {
	State *state.State
	Flows *flow.Table
	// Take gets the kernel's maps when it is this ztunnel's turn. agent ends when the agent does.
	Take func(context.Context) (k Kernel, agent io.ReadCloser, err error)
	// Ready reports that what can be decided on is known: the mesh, and the pods of the node. nil: it is.
	Ready func() error
	// Pairs counts ways opened and closed, by what was done. nil: nobody does.
	Pairs *prometheus.CounterVec
	// Log; nil: none.
	Log *zap.Logger
}

// Table is the direct path of one node. Its methods are safe for concurrent use.
type Table struct {
	o Options

	mu       sync.Mutex // protects what follows; a pair is decided on, and then written, under it
	kernel   Kernel     // nil: not this ztunnel's turn
	pods     map[uint64]*pod.Pod
	pairs    map[kernel.Pair]bool // what is permitted
	vips     map[kernel.VIP]published
	conns    map[uint64]*conn // by the client's socket
	full     bool
	released bool
	stop     context.CancelFunc // of Run
}

// New makes an empty table.
func New(o Options) *Table {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	return &Table{o: o, pods: map[uint64]*pod.Pod{}, pairs: map[kernel.Pair]bool{}, vips: map[kernel.VIP]published{}, conns: map[uint64]*conn{}}
}

// Joined says that a pod is served from now on.
func (t *Table) Joined(p *pod.Pod) {
	if p.Space == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods[p.Space.Cookie()] = p
}

// Left says that it is not any more. Its direct connections are cut.
func (t *Table) Left(p *pod.Pod) {
	if p.Space == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ns := p.Space.Cookie()
	for v := range t.vips {
		if v.From == ns {
			t.unpublish(v)
		}
	}
	for pair := range t.pairs {
		if pair.From == ns || pair.To == ns {
			t.forbid(pair, flow.PodGone())
		}
	}
	if t.pods[ns] == p {
		delete(t.pods, ns)
	}
}

// Offer implements outbound.Direct.
func (t *Table) Offer(from *pod.Pod, dialled, end netip.AddrPort) {
	if from.Space == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel == nil {
		return
	}
	if dialled != end {
		t.publish(kernel.VIPOf(from.Space.Cookie(), dialled))
		return
	}
	if to, ok := t.kernel.At(end.Addr()); ok {
		t.permit(kernel.PairOf(from.Space.Cookie(), to, end))
	}
}

// permit opens a way if that may be, and reports whether it is open. t.mu is held.
func (t *Table) permit(pair kernel.Pair) bool {
	if t.pairs[pair] {
		return true
	}
	if t.judge(pair) != nil {
		return false
	}
	if err := t.kernel.Permit(pair); err != nil {
		t.refused(err)
		return false
	}
	t.pairs[pair] = true
	t.count("permitted")
	return true
}

// refused is told once of a full kernel, of all else always. t.mu is held.
func (t *Table) refused(err error) {
	full := errors.Is(err, kernel.ErrFull)
	if !full || !t.full {
		t.o.Log.Warn("direct path: what does not fit goes by the proxies", zap.Error(err))
	}
	t.full = t.full || full
}

func (t *Table) count(what string) {
	if t.o.Pairs != nil {
		t.o.Pairs.WithLabelValues(what).Inc()
	}
}

// judge decides whether connections of a pair may go directly; nil: they may. t.mu is held.
func (t *Table) judge(pair kernel.Pair) *flow.Failure {
	from, to := t.pods[pair.From], t.pods[pair.To]
	if from == nil || to == nil {
		return flow.PodGone()
	}
	fw, fa := t.place(from, pair)
	tw, ta := t.place(to, pair)
	if fw == nil || tw == nil {
		return flow.PodGone()
	}
	dst := netip.AddrPortFrom(ta, uint16(pair.Port))
	r := outbound.Decide(t.o.State, fw, dst)
	if !r.Plainly() || r.Authority != dst || r.Dest != tw {
		return proxied()
	}
	c := policy.Conn{Source: from.Identity, SourceIP: fa, Dest: dst}
	if v := t.o.State.Decide(tw, c); !v.Allowed {
		return flow.Denied(v.Policy, v.Reason)
	}
	if !t.o.State.PlainlyAllowed(tw, c) {
		return proxied()
	}
	return nil
}

// place is what the controller says of a pod, and its address of the pair's family, if the kernel knows it under
// that address. t.mu is held.
func (t *Table) place(p *pod.Pod, pair kernel.Pair) (*model.Workload, netip.Addr) {
	w := t.o.State.PodByKey(p.Key())
	if w == nil || w.Identity() != p.Identity || w.HostNetwork || w.NativeTunnel {
		return nil, netip.Addr{}
	}
	for _, a := range w.Addresses {
		if !pair.Has(a) {
			continue
		}
		if ns, ok := t.kernel.At(a); ok && ns == p.Space.Cookie() {
			return w, a
		}
	}
	return nil, netip.Addr{}
}

// forbid closes a way, first for packets, then for the sockets at both ends. t.mu is held.
func (t *Table) forbid(pair kernel.Pair, cause *flow.Failure) {
	if t.kernel == nil {
		return
	}
	if err := t.kernel.Forbid(pair); err != nil {
		t.o.Log.Error("a direct way stays open until the lease is over", zap.Error(err))
		return // it stays among the pairs, to be tried again
	}
	delete(t.pairs, pair)
	t.full = false
	t.count("withdrawn")
	t.cut(pair, cause)
}
