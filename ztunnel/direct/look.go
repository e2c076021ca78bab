package direct

import (
	"go.uber.org/zap"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/pod"
)

// look compares what was told with the sockets themselves: how much living connections have moved, which of them the
// kernel had no room to tell of, and, with anew, which were made under another ztunnel.
func (t *Table) look(anew bool) {
	t.mu.Lock()
	before := map[uint64]bool{}
	callers := map[uint64]*pod.Pod{}
	for id, c := range t.conns {
		before[id] = true
		callers[c.pair.From] = t.pods[c.pair.From]
	}
	for pair := range t.pairs {
		if anew {
			callers[pair.From] = t.pods[pair.From]
		}
	}
	t.mu.Unlock()
	sockets := map[uint64]netns.Marked{}
	of := map[uint64]uint64{} // namespace by socket
	for ns, p := range callers {
		if p == nil {
			continue
		}
		list, err := p.Space.ListMarked(markClient)
		if err != nil {
			t.o.Log.Debug("direct connections cannot be listed", zap.String("pod", p.Key()), zap.Error(err))
			return
		}
		for _, m := range list {
			sockets[m.Cookie], of[m.Cookie] = m, ns
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kernel == nil {
		return
	}
	t.take()
	for id := range before {
		if c := t.conns[id]; c != nil {
			m, lives := sockets[id]
			t.note(id, c, m, lives)
		}
	}
	if anew {
		for id, m := range sockets {
			if t.conns[id] == nil {
				t.event(kernel.Event{Kind: kernel.Opened, At: kernel.Now(), Socket: id, NS: of[id], Local: m.Local, Remote: m.Remote})
			}
		}
	}
}

// note takes down what a connection has moved, or its end. t.mu is held.
func (t *Table) note(id uint64, c *conn, m netns.Marked, lives bool) {
	if !lives { // and its end was not told of
		delete(t.conns, id)
		c.each(func(f *flow.Flow) { f.End(nil) })
		return
	}
	c.each(func(f *flow.Flow) {
		f.Sent.Store(max(f.Sent.Load(), m.Acked-min(m.Acked, 1)))
		f.Received.Store(max(f.Received.Load(), m.Received))
	})
}
