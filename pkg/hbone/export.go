package hbone

import (
	"slices"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
)

// Export describes p's connections that can move to another process, while f lasts, and appends their
// descriptors to fds, which stay p's until f.Drop. Those stay that are new, failing, or carry a stream that somebody
// here holds: he reads and writes it, or is about to splice it. stay counts them.
func (p *Pool) Export(f *Frozen, fds []int) (st []ConnState, all []int, stay int) {
	return f.exportAll(p.each(func(Key) bool { return true }, func(*dial) {}), fds)
}

// Export is Pool.Export for s's connections.
func (s *Server) Export(f *Frozen, fds []int) (st []ConnState, all []int, stay int) {
	return f.exportAll(s.all(), fds)
}

// Staying counts p's connections that Export would leave behind. Most of them for a moment only: it may be worth it
// to Thaw and to try again.
func (p *Pool) Staying(f *Frozen) int {
	return f.staying(p.each(func(Key) bool { return true }, func(*dial) {}))
}

// Staying is Pool.Staying for s's connections.
func (s *Server) Staying(f *Frozen) int { return f.staying(s.all()) }

func (f *Frozen) staying(cs []*conn) (n int) {
	for _, c := range cs {
		c.mu.Lock()
		if t := f.tunnel(c); t == nil || !t.canMove() {
			n++
		}
		c.mu.Unlock()
	}
	return n
}

// tunnel is c's, if f's shards own it.
func (f *Frozen) tunnel(c *conn) *tunnel {
	t, ok := c.d.(*tunnel)
	if !ok || !slices.Contains(f.shards.all, t.sh) || !t.owned || t.closed {
		return nil
	}
	return t
}

func (f *Frozen) exportAll(cs []*conn, fds []int) (st []ConnState, all []int, stay int) {
	for _, c := range cs {
		var x *ConnState
		t := f.tunnel(c)
		if t != nil {
			x = f.export(t, fds)
		}
		if x == nil {
			stay++
			continue
		}
		fds = append(fds, t.fd)
		for i, a := range f.moved[len(f.moved)-1].apps {
			fds = append(fds, a.fd)
			if a.o.Meta != nil {
				x.Streams[i].Meta = a.o.Meta()
			}
		}
		st = append(st, *x)
	}
	return st, fds, stay
}

// export describes t, unless it has to stay.
func (f *Frozen) export(t *tunnel, fds []int) *ConnState {
	c := t.c
	for _, a := range f.apps[t] {
		a.check() // it may be over
	}
	apps := slices.DeleteFunc(f.apps[t], func(a *app) bool { return a.gone })
	f.apps[t] = apps
	c.mu.Lock()
	defer c.mu.Unlock()
	if !t.canMove() {
		return nil
	}
	st := &ConnState{Version: StateVersion, FD: len(fds), Peer: c.peer.Raw, PeerID: c.info.PeerID, Local: c.info.Local, Remote: c.info.Remote,
		Key: c.info.Key.state(), Opened: c.info.Opened, NotAfter: c.info.NotAfter, Retire: c.retire, Until: c.until}
	t.sealPending()
	t.soil() // in case that it stays
	if !st.describe(t, apps) {
		return nil
	}
	t.make(2 * record.Overhead)
	s := record.Session{In: t.in, Out: t.out}
	keys, buf, err := s.Export(t.buf[:t.tail])
	t.tail = len(buf)
	if err != nil || t.fault != nil {
		if t.fault == nil {
			t.fault = err
		}
		return nil
	}
	st.Keys, st.In, st.Out = *keys, slices.Clone(t.part[:t.partLen]), slices.Clone(t.buf[t.head:t.tail])
	keep := *keys
	keep.Out, keep.In = slices.Clone(keep.Out), slices.Clone(keep.In) // the importer overwrites its own
	c.frozen = true
	f.moved = append(f.moved, &moved{t: t, apps: apps, keys: keep})
	return st
}

// canMove reports that the connection lives, and that nobody here holds a stream of it: each is an application's,
// by its shard, or was not agreed on yet. An Open that waits tries again on another connection, a request's
// Handler is asked again there. c.mu is held.
func (t *tunnel) canMove() bool {
	c := t.c
	all := c.err == nil && t.fault == nil && !c.frozen
	c.eng.Each(func(es *engine.Stream) {
		s, ok := es.User.(*Stream)
		all = all && ok && (s.app != nil || s.request != nil || c.client && !s.agreed)
	})
	return all
}

// describe adds the engine's state and the streams', or reports that the connection has to stay; c.mu is held.
func (st *ConnState) describe(t *tunnel, apps []*app) bool {
	var ended []*engine.Stream
	for i, a := range apps {
		x, ok := a.describe()
		if !ok {
			return false
		}
		x.FD = st.FD + 1 + i
		st.Streams = append(st.Streams, x)
		if a.s.es.Gone() {
			ended = append(ended, a.s.es)
		}
	}
	es, err := t.c.eng.Export(t.c.env.clock.Now(), ended...)
	if err != nil {
		return false
	}
	st.Engine = *es
	st.Requests = t.c.requests()
	has := map[uint32]bool{}
	for _, x := range es.Streams {
		has[x.ID] = true
	}
	for _, x := range st.Streams {
		if !has[x.ID] {
			return false // it is ending just now
		}
	}
	return true
}

// requests describes those that wait for their answer; mu is held.
func (c *conn) requests() (rs []RequestState) {
	c.eng.Each(func(es *engine.Stream) {
		s, ok := es.User.(*Stream)
		if !ok || s.request == nil {
			return
		}
		s.rmu.Lock()
		defer s.rmu.Unlock()
		if s.reset == nil && !s.discard {
			rs = append(rs, RequestState{ID: es.ID, Authority: s.request.Authority, Header: s.request.Header, Queue: s.q.copied(), EOF: s.eof})
		}
	})
	return rs
}

// copied is all that is queued.
func (q *queue) copied() (b []byte) {
	for _, s := range q.segments(nil, len(q.chunks)) {
		b = append(b, s...)
	}
	return b
}

// describe describes the splice; false: it is ending. c.mu is held, and rmu taken, which is safe since nobody takes
// them the other way round.
func (a *app) describe() (x StreamState, ok bool) {
	s := a.s
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.discard || s.reset != nil || a.broken != nil || a.up != nil || a.cause.Load() != nil {
		return x, false
	}
	x = StreamState{ID: s.es.ID, Queue: s.q.copied(), EOF: s.eof, Finished: a.upEnded, Failed: a.failed, Ended: a.ended, In: s.in.Load(), Out: s.out.Load(),
		ToApp: a.o.ToApp.Load(), ToTunnel: a.o.ToTunnel.Load(), Idle: a.idleFor()}
	return x, true
}
