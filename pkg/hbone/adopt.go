package hbone

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// Adopt says how the splice of a stream goes on that has come from another process; meta is what
// SpliceOptions.Meta said there. What has changed since then is its to judge: a stream that it does not want is
// reset, with its application. It may keep s for Reset, and may not block.
type Adopt func(s *Stream, meta []byte) (a Adoption, ok bool)

// Adoption is what Stream.Start would be given. Counters go on from where they are: what has moved before
// is added to them.
type Adoption struct {
	// Context ends the splice. nil: nothing does.
	Context context.Context
	Options SpliceOptions
	// Done is called at the end, on a goroutine of its own. nil: nobody is told.
	Done func(error)
}

// Arrival are connections that have been imported and do not run yet. Run gives them life; without it they are
// garbage, and the descriptors the caller's to close.
type Arrival struct {
	conns []*arrived
	adopt Adopt
	enter func(*conn) (*sync.WaitGroup, bool) // what waits for splices, too
}

// arrived is one of them.
type arrived struct {
	c       *conn
	t       *tunnel
	streams []*Stream
	states  []StreamState
	fds     []int
	asked   []*Stream
	asks    []RequestState
}

// Import prepares connections that a Pool has exported. fds are all descriptors that came along; they are the
// caller's until Run. st is emptied of its keys.
func (p *Pool) Import(st []ConnState, fds []int, adopt Adopt) (*Arrival, error) {
	return p.env.importAll(st, fds, &Arrival{adopt: adopt, enter: p.enter}, true)
}

// Import is Pool.Import for what a Server has exported.
func (s *Server) Import(st []ConnState, fds []int, adopt Adopt) (*Arrival, error) {
	return s.env.importAll(st, fds, &Arrival{adopt: adopt, enter: s.admit}, false)
}

func (e *env) importAll(st []ConnState, fds []int, a *Arrival, client bool) (*Arrival, error) {
	if e.shards == nil {
		return nil, fmt.Errorf("import tunnel connections: %w", errNoShards)
	}
	for i := range st {
		x, err := e.importConn(&st[i], fds, client)
		if err != nil {
			return nil, fmt.Errorf("import the tunnel connection with %s: %w", st[i].Remote, err)
		}
		a.conns = append(a.conns, x)
	}
	return a, nil
}

func (e *env) importConn(st *ConnState, fds []int, client bool) (*arrived, error) {
	if st.Version != StateVersion {
		return nil, fmt.Errorf("%w: its version is %d, not %d", engine.ErrState, st.Version, StateVersion)
	}
	if st.Engine.Options.Client != client || st.Keys.Client != client {
		return nil, fmt.Errorf("%w: it is of the other role", engine.ErrState)
	}
	peer, err := x509.ParseCertificate(st.Peer)
	if err != nil {
		return nil, err
	}
	c := &conn{env: e, client: client, peer: peer, bulkGen: 1 + calmBulks, share: e.limits.Batch, done: make(chan struct{}), retire: st.Retire, until: st.Until,
		info: ConnInfo{PeerID: st.PeerID, Local: st.Local, Remote: st.Remote, Key: st.Key.key(), Opened: st.Opened, NotAfter: st.NotAfter}}
	eng, streams, err := engine.Import(&st.Engine, e.clock.Now())
	if err != nil {
		return nil, err
	}
	c.eng = eng
	x := &arrived{c: c, states: st.Streams, asks: st.Requests}
	if err := x.importStreams(streams, fds); err != nil {
		return nil, err
	}
	if st.FD < 0 || st.FD >= len(fds) {
		return nil, fmt.Errorf("%w: its descriptor is missing", engine.ErrState)
	}
	s, err := e.resume(&st.Keys)
	if err != nil {
		return nil, err
	}
	s.Surplus = st.In
	x.t = newTunnel(e.shards.pick(), c, fds[st.FD], s)
	x.t.buf, x.t.tail = st.Out, len(st.Out)
	x.t.holding, x.t.lent = eng.Holding(), true
	c.d = x.t
	return x, nil
}

// importStreams matches the engine's streams and those described.
func (x *arrived) importStreams(streams []*engine.Stream, fds []int) error {
	by := map[uint32]*engine.Stream{}
	for _, es := range streams {
		by[es.ID] = es
	}
	for _, st := range x.states {
		es := by[st.ID]
		if es == nil || st.FD < 0 || st.FD >= len(fds) {
			return fmt.Errorf("%w: stream %d is unknown, or its descriptor", engine.ErrState, st.ID)
		}
		delete(by, st.ID)
		s := x.stream(es, st.Queue, st.EOF)
		s.in.Store(st.In)
		s.out.Store(st.Out)
		s.started.Store(true)
		x.streams = append(x.streams, s)
		x.fds = append(x.fds, fds[st.FD])
	}
	for _, r := range x.asks {
		es := by[r.ID]
		if es == nil || x.c.client {
			return fmt.Errorf("%w: request %d is unknown", engine.ErrState, r.ID)
		}
		delete(by, r.ID)
		s := x.stream(es, r.Queue, r.EOF)
		s.in.Store(uint64(len(r.Queue)))
		s.header = r.Header
		x.asked = append(x.asked, s)
	}
	for _, es := range by { // Opens that try again elsewhere
		x.c.eng.Reset(es, engine.Cancel)
	}
	return nil
}

func (x *arrived) stream(es *engine.Stream, queue []byte, eof bool) *Stream {
	s := &Stream{c: x.c, es: es, eof: eof, agreed: true}
	s.q.put(queue)
	es.User = s
	return s
}

// Run starts everything; the descriptors are not the caller's any more.
func (a *Arrival) Run() {
	for _, x := range a.conns {
		x.run(a)
	}
	a.conns = nil
}

func (x *arrived) run(a *Arrival) {
	running, ok := a.enter(x.c)
	if !ok { // closed meanwhile
		hangUp(x.t.fd, true, false)
		for _, fd := range x.fds {
			hangUp(fd, true, true)
		}
		return
	}
	apps := make([]*app, 0, len(x.streams))
	for i, s := range x.streams {
		s.running = running
		if p := x.splice(s, &x.states[i], x.fds[i], a.adopt); p != nil {
			apps = append(apps, p)
		}
	}
	if running != nil { // as above, while requests are made
		running.Add(1)
		defer running.Done()
	}
	x.c.start()
	for _, p := range apps {
		x.t.sh.post(p)
	}
	for i, s := range x.asked {
		x.c.onRequest(s, x.asks[i].Authority, s.header)
	}
}

// splice makes what goes on with a splice; nil: nobody wants it.
func (x *arrived) splice(s *Stream, st *StreamState, fd int, adopt Adopt) *app {
	d, ok := adopt(s, st.Meta)
	if !ok {
		hangUp(fd, true, true)
		s.Reset()
		return nil
	}
	if d.Context == nil {
		d.Context = context.Background()
	}
	o := d.Options.counted()
	o.ToApp.Add(st.ToApp)
	o.ToTunnel.Add(st.ToTunnel)
	p := &app{ending: newEnding(d.Context, s, o, st.Idle), t: x.t, fd: fd, lent: true, upEnded: st.Finished, failed: st.Failed, ended: st.Ended}
	p.count = p.o.ToApp
	r := s.running
	if r != nil { // enter holds one, so this is not from zero
		r.Add(1)
	}
	p.done = func(err error) {
		go func() {
			if r != nil {
				defer r.Done()
			}
			if d.Done != nil {
				d.Done(err)
			}
		}()
	}
	return p
}

// enter takes a connection in that is to be started; false: p is closed.
func (p *Pool) enter(c *conn) (*sync.WaitGroup, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false
	}
	c.onClose = p.forget
	e := p.entries[c.info.Key]
	if e == nil {
		e = &entry{}
		p.entries[c.info.Key] = e
	}
	e.conns = append(e.conns, c)
	p.running.Add(1)
	go func() {
		<-c.done
		p.running.Done()
	}()
	return nil, true
}

// admit takes a connection in that is to be started; false: s is closed.
func (s *Server) admit(c *conn) (*sync.WaitGroup, bool) {
	if !s.enter() {
		return nil, false
	}
	c.onRequest = func(st *Stream, authority string, h Header) { s.request(c, st, authority, h) }
	c.onClose = s.forget
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	go func() {
		<-c.done
		s.running.Done()
	}()
	return &s.running, true
}
