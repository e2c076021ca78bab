package hbone

import (
	"context"
	"fmt"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// open starts a stream; nil when c takes none.
func (c *conn) open(authority string, h Header) *Stream {
	s := &Stream{c: c, answer: make(chan error, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.frozen {
		return nil
	}
	es, err := c.eng.Open(authority, h, s)
	if err != nil {
		return nil
	}
	s.es = es
	c.env.count.streams.Add(1)
	c.d.flush()
	return s
}

// load is how many streams c would take, and has.
func (c *conn) load() (slots, streams int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.frozen {
		return 0, 0
	}
	return c.eng.Slots(), c.eng.Streams()
}

// await waits for the answer to a CONNECT.
func (p *Pool) await(ctx context.Context, s *Stream) error {
	t := time.NewTimer(p.env.limits.Answer)
	defer t.Stop()
	select {
	case err := <-s.answer:
		s.rmu.Lock()
		s.answer = nil // a stream may live long, and be one of many
		s.rmu.Unlock()
		return err
	case <-ctx.Done():
		s.Reset()
		return gaveUp(ctx, "waiting for the far end's answer")
	case <-t.C:
		s.Reset()
		return fmt.Errorf("%w: the far end did not answer within %v (is its application's port filtered?)", ErrTimeout, p.env.limits.Answer)
	}
}

// answered takes the response to a CONNECT; called by the reader.
func (s *Stream) answered(status int, h []Field) {
	if status >= 200 && status < 300 {
		s.header, s.agreed = h, true
		s.tell(nil)
		return
	}
	s.tell(&RefusedError{Status: status, Reason: Header(h).Get(ReasonHeader), Header: h})
	s.abort(engine.Cancel)
}

// tell answers whoever has opened the stream, if nobody has yet.
func (s *Stream) tell(err error) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	select {
	case s.answer <- err:
	default: // on a server, there is nobody
	}
}
