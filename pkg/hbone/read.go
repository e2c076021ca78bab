package hbone

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
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

// atEOF says what the end of the input means.
func (c *conn) atEOF(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.eng.Streams() == 0 {
		return nil
	}
	return errors.New("the peer hung up while streams were open")
}

// faulty reports that a connection ended by its peer's fault, who is told so.
func (c *conn) faulty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var op *net.OpError // of crypto/tls
	return errors.As(c.err, new(*engine.ConnError)) || errors.As(c.err, new(*record.Error)) ||
		errors.As(c.err, new(tls.RecordHeaderError)) || errors.As(c.err, &op) && op.Op == "local error"
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

// process gives decrypted bytes to the engine and its events to the streams.
func (c *conn) process(p []byte) error {
	b := batches.Get().(*batch)
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return nil //nolint:nilerr // the end is known already, and settled by who brought it about
	}
	err := c.receive(b, p, c.env.clock.Now())
	c.d.kick()
	c.mu.Unlock()
	c.handle(b, err)
	return err
}

// receive gives decrypted bytes to the engine; mu is held. The events wait in b for handle.
func (c *conn) receive(b *batch, p []byte, now time.Time) (err error) {
	at := len(b.evs)
	b.evs, err = c.eng.Receive(p, now, b.evs)
	for i := range b.evs[at:] {
		switch e := &b.evs[at+i]; e.Kind {
		case engine.Window:
			c.windowOpened(e.Stream)
		case engine.Data:
			if len(e.Data) > smallMessage {
				c.bulky.Add(uint64(len(e.Data)))
			}
		case engine.Request:
			e.Stream.User = &Stream{c: c, es: e.Stream, header: e.Header[1:]}
		}
	}
	return err
}

// handle gives the events in b to the streams and frees b; err is the last receive's.
func (c *conn) handle(b *batch, err error) {
	c.dispatch(b)
	c.mu.Lock()
	for _, u := range b.used {
		c.eng.Consumed(u.s.es, u.n)
	}
	if err != nil {
		c.failLocked(err)
	}
	c.drained()
	if c.d.unflushed() || c.eng.Pending() > 0 {
		c.d.kick()
	}
	c.mu.Unlock()
	c.settle()
	clear(b.evs)
	clear(b.segs)
	clear(b.used)
	b.evs, b.segs, b.used = b.evs[:0], b.segs[:0], b.used[:0]
	batches.Put(b)
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
