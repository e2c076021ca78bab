package hbone

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// batch is what the reader needs while bytes move.
type batch struct {
	evs  []engine.Event
	segs [][]byte
	used []used
}

// used is what a stream has consumed.
type used struct {
	s *Stream
	n int
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (c *conn) readLoop() {
	defer close(c.done)
	err := c.readAll()
	var ce *engine.ConnError
	if errors.Is(err, io.EOF) {
		c.mu.Lock()
		if c.eng.Streams() == 0 {
			err = nil
		} else {
			err = errors.New("the peer hung up while streams were open")
		}
		c.mu.Unlock()
	}
	c.fail(err)
	if errors.As(err, &ce) {
		c.discard()
	}
	<-c.bye
	c.w.Close()
}

func (c *conn) readAll() error {
	for first := true; ; first = false {
		if !first { // crypto/tls may have read ahead in the handshake
			if err := c.w.fill(); err != nil {
				return c.refusal(err)
			}
		}
		if err := c.readBatch(); err != nil {
			return c.refusal(err)
		}
		c.mu.Lock()
		over := c.err != nil
		c.mu.Unlock()
		if over {
			return nil //nolint:nilerr // the same
		}
	}
}

// refusal explains the end of a connection that the peer never accepted: in TLS 1.3 a client learns only
// after its handshake that its certificate was refused.
func (c *conn) refusal(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusalLocked(err)
}

// refusalLocked is refusal with mu held. A write may learn of the refusal before the alert is read.
func (c *conn) refusalLocked(err error) error {
	if !c.client || c.eng.IsSettled() || errors.As(err, new(*engine.ConnError)) {
		return err
	}
	if isAlert(err) {
		return handshakeError(err, "the peer refused our certificate; its log says why")
	}
	return handshakeError(err, "the peer hung up right after the handshake: it may have refused our certificate")
}

// readBatch decrypts and handles all input at hand.
func (c *conn) readBatch() error {
	buf := c.env.plain.get()
	defer c.env.plain.put(buf)
	for {
		n, err := c.decrypt(*buf)
		if n > 0 {
			if e := c.process((*buf)[:n]); e != nil {
				return e
			}
		}
		if errors.As(err, new(again)) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *conn) decrypt(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.tls.Read(p[n:])
		n += m
	}
	return n, err
}

// process gives decrypted bytes to the engine and its events to the streams.
func (c *conn) process(p []byte) error {
	b := batches.Get().(*batch)
	c.recent.Add(uint64(len(p)))
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil //nolint:nilerr // the end is known already, and settled by who brought it about
	}
	evs, err := c.eng.Receive(p, c.env.clock.Now(), b.evs[:0])
	for i := range evs {
		switch e := &evs[i]; e.Kind {
		case engine.Window:
			c.windowOpened(e.Stream)
		case engine.Request:
			e.Stream.User = &Stream{c: c, es: e.Stream, header: e.Header[1:]}
		}
	}
	c.kick()
	c.mu.Unlock()
	b.evs = evs
	c.dispatch(b)
	c.mu.Lock()
	for _, u := range b.used {
		c.eng.Consumed(u.s.es, u.n)
	}
	if err != nil {
		c.failLocked(err)
	}
	c.drained()
	if c.w.unflushed() || c.eng.Pending() > 0 {
		c.kick()
	}
	c.mu.Unlock()
	c.settle()
	clear(b.evs)
	clear(b.segs)
	clear(b.used)
	b.segs, b.used = b.segs[:0], b.used[:0]
	batches.Put(b)
	return err
}

// dispatch hands events to their streams. Runs of data of one stream are given in one piece.
func (c *conn) dispatch(b *batch) {
	for i := 0; i < len(b.evs); i++ {
		e := &b.evs[i]
		if e.Kind == engine.Data {
			i = c.data(b, i)
			continue
		}
		if e.Stream == nil {
			continue
		}
		if e.Kind == engine.Request {
			c.request(e)
			continue
		}
		s, ok := e.Stream.User.(*Stream)
		if !ok {
			continue // it ended before anybody knew of it
		}
		switch e.Kind {
		case engine.Response:
			s.answered(e.Status, e.Header)
		case engine.End:
			s.end(io.EOF)
		case engine.Reset:
			s.end(&ResetError{Code: e.Code, Local: e.Local})
		}
	}
}

// data delivers the run of data events that begins at i and returns its last index.
func (c *conn) data(b *batch, i int) int {
	es := b.evs[i].Stream
	b.segs = b.segs[:0]
	for ; i < len(b.evs) && b.evs[i].Kind == engine.Data && b.evs[i].Stream == es; i++ {
		b.segs = append(b.segs, b.evs[i].Data)
	}
	if s, ok := es.User.(*Stream); ok {
		if n := s.deliver(b.segs); n > 0 {
			b.used = append(b.used, used{s, n})
		}
	}
	return i - 1
}

// request hands on the stream that a peer asks for.
func (c *conn) request(e *engine.Event) {
	c.env.count.streams.Add(1)
	s := e.Stream.User.(*Stream)
	c.onRequest(s, e.Header[0].Value, s.header)
}

// discard reads on for a moment after a fatal error, so that the kernel does not answer what is still on
// its way by a reset, which would overtake our GOAWAY.
func (c *conn) discard() {
	_ = c.w.SetReadDeadline(time.Now().Add(lastWords))
	buf := c.env.plain.get()
	defer c.env.plain.put(buf)
	for left := 4 << 20; left > 0; {
		n, err := c.w.Conn.Read(*buf)
		if err != nil {
			return
		}
		left -= n
	}
}
