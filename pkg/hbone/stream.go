package hbone

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// Stream is an open CONNECT of either side: full duplex, each direction ends by itself. One goroutine at a
// time may Read, one may Write; everything else may be called by any.
type Stream struct {
	c      *conn
	es     *engine.Stream
	header Header
	answer chan error // client: until the response came; set under rmu, but for its making
	agreed bool       // client: it said yes; the reader's

	// Under c.mu.
	wake    chan struct{} // made when somebody first waits
	asleep  bool
	waits   bool     // in conn.waiting
	guest   bool     // or called out of it
	inBulk  uint32   // the bulk in which data of this stream lies,
	bulkLen int      // and how much
	bigGen  uint32   // the bulk that got more than a small message last
	app     *app     // spliced on a shard
	request *Request // server: until it was answered

	rmu     sync.Mutex // protects what follows
	q       queue
	eof     bool  // the peer has finished: after q comes the end
	reset   error // a *ResetError: nothing can be sent any more, and nothing comes unless eof
	discard bool  // nobody will read
	arrived chan struct{}
	sink    outlet // Splice's
	cancel  func() // server: ends the request's context

	in, out atomic.Uint64
	started atomic.Bool     // Start was called
	running *sync.WaitGroup // server: what Close of it waits for
}

// PeerID is the SPIFFE URI of the verified peer of the connection.
func (s *Stream) PeerID() string { return s.c.info.PeerID }

// Header is the response's on a client, the request's on a server.
func (s *Stream) Header() Header { return s.header }

// Local is this end of the tunnel connection.
func (s *Stream) Local() netip.AddrPort { return s.c.info.Local }

// Remote is the far end of the tunnel connection.
func (s *Stream) Remote() netip.AddrPort { return s.c.info.Remote }

// Read returns io.EOF only if the peer said that it had finished; otherwise a broken stream is a *ResetError.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		s.rmu.Lock()
		n, err := s.q.take(p), s.reset
		if s.eof && !s.discard {
			err = io.EOF // whatever happened after it
		}
		if s.arrived == nil {
			s.arrived = make(chan struct{}, 1)
		}
		wait := s.arrived
		if s.discard && err == nil {
			err = ErrClosed
		}
		s.rmu.Unlock()
		if n > 0 {
			s.credit(n)
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		<-wait
	}
}

// credit lets the peer send as much again.
func (s *Stream) credit(n int) {
	c := s.c
	c.mu.Lock()
	c.eng.Consumed(s.es, n)
	c.d.kick()
	c.mu.Unlock()
}

// deliver takes what arrived and returns how much of it is consumed already.
func (s *Stream) deliver(segs [][]byte) (consumed int) {
	total := 0
	for _, p := range segs {
		total += len(p)
	}
	s.in.Add(uint64(total))
	s.c.env.count.in.Add(uint64(total))
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.discard {
		return total
	}
	if k := s.sink; k != nil && s.q.len == 0 && !k.state().draining {
		consumed = k.write(segs)
		if k.state().broken != nil {
			return total
		}
		if consumed == total {
			return total
		}
		skip := consumed
		for _, p := range segs {
			n := min(skip, len(p))
			skip -= n
			s.q.put(p[n:])
		}
		s.drainLater()
		return consumed
	}
	for _, p := range segs {
		s.q.put(p)
	}
	s.notify()
	return 0
}

// notify wakes a Read; rmu is held.
func (s *Stream) notify() {
	if s.arrived != nil {
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
}

// end notes how the input ended. A reset throws away what was not read, unless it was all there.
func (s *Stream) end(err error) {
	eof := errors.Is(err, io.EOF)
	if !eof {
		s.tell(err)
	}
	s.rmu.Lock()
	if s.reset != nil {
		s.rmu.Unlock()
		return
	}
	if eof {
		s.eof = true
	} else if s.reset = err; !s.eof || s.sink != nil {
		s.q.drop(s.q.len)
	}
	if s.sink != nil {
		s.ended()
	}
	s.notify()
	cancel := s.cancel
	s.rmu.Unlock()
	if eof {
		return
	}
	if cancel != nil {
		cancel()
	}
	s.c.mu.Lock()
	s.wakeUp()
	s.c.pass(s) // whoever sends for it may never look again
	s.c.mu.Unlock()
}

// onEnd has cancel called when the stream breaks, at once if it has.
func (s *Stream) onEnd(cancel func()) {
	s.rmu.Lock()
	s.cancel = cancel
	over := s.reset != nil
	s.rmu.Unlock()
	if over && cancel != nil {
		cancel()
	}
}

// errEnded: this direction has ended before.
var errEnded = fmt.Errorf("%w: this direction has ended", ErrClosed)

// broken is why nothing can be sent; c.mu is held. nil while it can.
func (s *Stream) broken() error {
	switch {
	case s.c.err != nil:
		return &ResetError{Err: s.c.err}
	case s.es.SentEnd():
		return errEnded
	}
	return nil
}

// wakeUp wakes who waits to send; c.mu is held.
func (s *Stream) wakeUp() {
	if !s.asleep {
		return
	}
	s.asleep = false
	if s.app != nil {
		s.app.t.sh.post(s.app)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Write sends p. It waits while the peer does not read.
func (s *Stream) Write(p []byte) (n int, err error) {
	c := s.c
	c.mu.Lock()
	for n < len(p) {
		if s.broken() != nil {
			c.pass(s)
			break
		}
		room := c.room(s, len(p)-n)
		if room == 0 {
			wake := c.wait(s)
			c.mu.Unlock()
			<-wake
			c.mu.Lock()
			continue
		}
		frame := c.space(room)
		n += copy(frame[engine.HeaderLen:], p[n:n+room])
		c.commit(s, frame, room, len(p) > room)
		c.d.flush()
	}
	if n < len(p) {
		err = s.broken()
	}
	c.mu.Unlock()
	s.sent(n)
	if errors.Is(err, errEnded) {
		err = s.why(err)
	}
	return n, err
}

func (s *Stream) sent(n int) {
	s.out.Add(uint64(n))
	s.c.env.count.out.Add(uint64(n))
}

// why prefers the reset that ended the stream to the bare fact that it has ended.
func (s *Stream) why(err error) error {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	if s.reset != nil {
		return s.reset
	}
	return err
}

// CloseWrite says that this side has finished sending. Reading goes on.
func (s *Stream) CloseWrite() error {
	c := s.c
	c.mu.Lock()
	err := s.broken()
	if err == nil {
		c.endStream(s)
		c.d.flush()
	}
	c.drained()
	c.mu.Unlock()
	c.settle()
	if errors.Is(err, errEnded) {
		return s.why(nil) // ended before: fine, unless by a reset
	}
	return err
}

// Close gives the stream up: a direction that has not ended is reset. It returns nil.
func (s *Stream) Close() error {
	s.abort(engine.Cancel)
	return nil
}

// Reset cuts both directions, so that the far end's application sees a reset. It may be called at any time.
func (s *Stream) Reset() { s.abort(engine.Cancel) }

func (s *Stream) abort(code engine.Code) {
	s.rmu.Lock()
	left := s.q.len
	s.q.drop(left)
	s.discard = true
	s.rmu.Unlock()
	c := s.c
	c.mu.Lock()
	c.eng.Consumed(s.es, left)
	was := s.es.Gone()
	c.resetStream(s, code)
	c.drained()
	c.d.kick()
	c.mu.Unlock()
	c.settle()
	if !was {
		s.end(&ResetError{Code: code, Local: true})
	}
	s.rmu.Lock()
	s.notify()
	cancel := s.cancel
	s.rmu.Unlock()
	if cancel != nil {
		cancel()
	}
}
