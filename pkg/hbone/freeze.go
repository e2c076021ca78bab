package hbone

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/record"
)

// Frozen are Shards between two turns: nothing that they own moves. What others do meanwhile (Reset, CloseIf,
// certificates that end) waits for the thaw, or is lost on what is dropped: a successor has to judge anew
// whether what it adopts may go on. Thaw or Drop ends it; Pool.Export and Server.Export come before.
type Frozen struct {
	shards *Shards
	over   chan struct{}
	once   sync.Once
	apps   map[*tunnel][]*app
	moved  []*moved
}

// rest is what a shard finds that is to freeze.
type rest struct{ still, over chan struct{} }

// Freeze waits until every shard stands still. One caller at a time freezes; others wait for its Thaw or Drop.
// It may not be called when Close may be.
func (s *Shards) Freeze() *Frozen {
	s.freezing.Lock()
	f := &Frozen{shards: s, over: make(chan struct{}), apps: map[*tunnel][]*app{}}
	rests := make([]*rest, len(s.all))
	for i, x := range s.all {
		rests[i] = &rest{still: make(chan struct{}), over: f.over}
		x.rest.Store(rests[i])
		x.wake()
	}
	for i, x := range s.all {
		<-rests[i].still
		x.beginAll()
		for _, o := range x.owns {
			if a, ok := o.(*app); ok {
				f.apps[a.t] = append(f.apps[a.t], a)
			}
		}
	}
	return f
}

// pause rests, if somebody has asked for it.
func (s *shard) pause() {
	if r := s.rest.Swap(nil); r != nil {
		close(r.still)
		<-r.over
	}
}

// beginAll has the shard take the sockets over that lie in its inbox, without moving a byte.
func (s *shard) beginAll() {
	s.mu.Lock()
	in := slices.Clone(s.inbox)
	s.mu.Unlock()
	for _, o := range in {
		if a, ok := o.(*app); ok && !a.owned && !a.gone {
			a.begin()
		}
	}
}

// Thaw goes on as if nothing had happened, but that the peers get new keys: those of the exported state, which
// nobody else may use from here on.
func (f *Frozen) Thaw() {
	f.once.Do(func() {
		for _, m := range f.moved {
			m.thaw()
		}
		f.end()
	})
}

// Drop forgets what was exported, which goes on elsewhere: its keys are wiped, its descriptors closed, its
// splices end with ErrMoved. Everything else goes on here.
func (f *Frozen) Drop() {
	f.once.Do(func() {
		for _, m := range f.moved {
			m.drop()
		}
		f.end()
	})
}

func (f *Frozen) end() {
	f.moved, f.apps = nil, nil
	close(f.over)
	f.shards.freezing.Unlock()
}

// moved is an exported connection, as long as nobody knows whose it will be.
type moved struct {
	t    *tunnel
	apps []*app
	keys record.State
}

func (m *moved) thaw() {
	t, c := m.t, m.t.c
	s, err := c.env.resume(&m.keys)
	c.mu.Lock()
	c.frozen = false
	if c.err == nil {
		c.timer.Reset(time.Millisecond)
	}
	c.mu.Unlock()
	if err != nil {
		t.fault = err
		c.fail(err)
	} else {
		t.in, t.out = s.In, s.Out
	}
	for _, a := range m.apps {
		a.lent = true
	}
	t.lent = true
	t.soil()
}

func (m *moved) drop() {
	t, c := m.t, m.t.c
	clear(m.keys.Out)
	clear(m.keys.In)
	m.keys = record.State{}
	for _, a := range m.apps {
		a.gone = true
		t.sh.disown(a.fd)
		unix.Close(a.fd)
	}
	c.mu.Lock()
	t.closed = true
	c.failLocked(ErrMoved)
	c.mu.Unlock()
	c.settle()
	for _, a := range m.apps {
		c.mu.Lock()
		a.s.app = nil
		c.mu.Unlock()
		a.release()
		a.done(ErrMoved)
	}
	t.lent = false // it lives on elsewhere: nobody may be told that it ends
	t.release()
	close(c.done)
}

// resume makes a session of an exported one.
func (e *env) resume(st *record.State) (*record.Session, error) {
	s, err := record.Import(st)
	if err == nil {
		e.rekey(s)
	}
	return s, err
}

// rekey sets how long keys last.
func (e *env) rekey(s *record.Session) {
	if n := e.limits.RekeyAfter; n > 0 {
		s.RekeyAfter(n)
	}
}
