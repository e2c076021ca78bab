package hbone

import (
	"slices"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
)

// Export describes p's connections that can move to another process, while f lasts, and appends their
// descriptors to fds, which stay p's until f.Drop. Those stay that are new, failing, or carry a stream that is
// not spliced to an application's socket by its shard: its handler or Open still runs, or somebody reads and
// writes it. stay counts them.
func (p *Pool) Export(f *Frozen, fds []int) (st []ConnState, all []int, stay int) {
	return f.exportAll(p.each(func(Key) bool { return true }, func(*dial) {}), fds)
}

// Export is Pool.Export for s's connections.
func (s *Server) Export(f *Frozen, fds []int) (st []ConnState, all []int, stay int) {
	return f.exportAll(s.all(), fds)
}

func (f *Frozen) exportAll(cs []*conn, fds []int) (st []ConnState, all []int, stay int) {
	for _, c := range cs {
		t, ok := c.d.(*tunnel)
		if !ok || !slices.Contains(f.shards.all, t.sh) || !t.owned || t.closed {
			stay++
			continue
		}
		x := f.export(t, fds)
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
	if c.err != nil || t.fault != nil || c.frozen || !c.spliced() {
		return nil
	}
	st := &ConnState{FD: len(fds), Peer: c.peer.Raw, PeerID: c.info.PeerID, Local: c.info.Local, Remote: c.info.Remote,
		Key: c.info.Key.state(), Opened: c.info.Opened, NotAfter: c.info.NotAfter, Retire: c.retire, Until: c.until}
	t.sealPending()
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
		t.soil()
		return nil
	}
	st.Keys, st.In, st.Out = *keys, slices.Clone(t.part[:t.partLen]), slices.Clone(t.buf[t.head:t.tail])
	keep := *keys
	keep.Out, keep.In = slices.Clone(keep.Out), slices.Clone(keep.In) // the importer overwrites its own
	c.frozen = true
	f.moved = append(f.moved, &moved{t: t, apps: apps, keys: keep})
	return st
}

// spliced reports that every stream is an application's, by its shard; mu is held.
func (c *conn) spliced() bool {
	all := true
	c.eng.Each(func(es *engine.Stream) {
		s, ok := es.User.(*Stream)
		all = all && ok && s.app != nil
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

// describe describes the splice; false: it is ending. c.mu is held, and rmu taken, which is safe since nobody takes
// them the other way round.
func (a *app) describe() (x StreamState, ok bool) {
	s := a.s
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.discard || s.reset != nil || a.broken != nil || a.up != nil || a.cause.Load() != nil {
		return x, false
	}
	x = StreamState{ID: s.es.ID, EOF: s.eof, Finished: a.upEnded, Failed: a.failed, Ended: a.ended, In: s.in.Load(), Out: s.out.Load(),
		ToApp: a.o.ToApp.Load(), ToTunnel: a.o.ToTunnel.Load(), Idle: a.idleFor()}
	for _, b := range s.q.segments(nil, len(s.q.chunks)) {
		x.Queue = append(x.Queue, b...)
	}
	return x, true
}
