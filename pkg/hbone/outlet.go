package hbone

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// outlet is the application's side of a splice as the stream's reader sees it. Its methods are called with the
// stream's rmu held. There is one for each driver: sink and app.
type outlet interface {
	state() *outflow
	// write gives segs to the socket as far as it takes them now.
	write(segs [][]byte) int
	// drainLater has the queue written when the socket takes bytes again.
	drainLater()
	// halfClose passes an orderly end on.
	halfClose()
	// finished: nothing more will be written.
	finished()
	// cut: the stream was reset.
	cut()
}

// outflow is the direction to the application, under the stream's rmu but for count.
type outflow struct {
	count    *atomic.Uint64
	broken   error // the socket takes nothing any more
	draining bool  // the queue is written when the socket takes more
	closed   bool  // nothing more will be written
}

func (o *outflow) state() *outflow { return o }

// result counts a write.
func (o *outflow) result(k outlet, n int, err error) int {
	o.count.Add(uint64(n))
	if err != nil {
		o.broken = err
		o.finish(k)
	}
	return n
}

func (o *outflow) finish(k outlet) {
	if !o.closed {
		o.closed = true
		k.finished()
	}
}

// ended passes the end of the stream's input on; rmu is held.
func (s *Stream) ended() {
	switch o := s.sink.state(); {
	case s.reset != nil:
		s.sink.cut()
		o.finish(s.sink)
	case s.q.len == 0 && !o.draining && !o.closed:
		s.sink.halfClose()
	}
}

// drainOnce writes the queue as far as the socket takes it now; done says that nothing is left to be done.
func (s *Stream) drainOnce(fd int) (n int, done bool) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	o := s.sink.state()
	for s.q.len > 0 {
		var segs [16][]byte
		m, err := writev(fd, s.q.segments(segs[:0], len(segs)))
		o.count.Add(uint64(m))
		s.q.drop(m)
		n += m
		if err != nil {
			return n + s.giveUp(err), true
		}
		if m == 0 {
			return n, false
		}
	}
	o.draining = false
	if s.eof && !o.closed {
		s.sink.halfClose()
	}
	return n, true
}

// giveUp drops what the socket will never take; rmu is held.
func (s *Stream) giveUp(err error) (dropped int) {
	dropped = s.q.len
	s.q.drop(dropped)
	o := s.sink.state()
	o.draining = false
	o.result(s.sink, 0, err)
	return dropped
}

// lost says what is behind an end that was read from the application: nil if it is one. The kernel reports a
// reset only once, and a write to the same socket may have been the one that was told; rmu is held over every
// write. It is told of EPIPE only if the peer had finished before it reset the connection, so that the end is
// real.
func (s *Stream) lost() error {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	err := s.sink.state().broken
	if errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}

// attach makes k the stream's outlet from now on.
func (s *Stream) attach(k outlet) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.sink = k
	switch {
	case s.reset != nil:
		s.ended()
	case s.q.len > 0:
		s.drainLater()
	case s.eof:
		k.halfClose()
	}
}

func (s *Stream) drainLater() {
	if o := s.sink.state(); !o.draining {
		o.draining = true
		s.sink.drainLater()
	}
}
