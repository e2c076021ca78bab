package hbone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// SpliceOptions of a Splice; the zero value will do.
type SpliceOptions struct {
	// ToApp and ToTunnel count bytes as they move. nil: not counted.
	ToApp, ToTunnel *atomic.Uint64
	// Idle ends the splice when nothing has moved for so long. 0: never.
	Idle time.Duration
	// Meta describes the splice to a process that takes it over: what Adopt needs to make SpliceOptions of. It is
	// called while nothing moves, and may not block. nil: nothing.
	Meta func() []byte
}

// Splice moves bytes between s and app until both directions have ended, and closes both. A direction that
// ends is half-closed on the other side; one that breaks resets it. It returns nil for an orderly end, and
// else an error for which errors.Is tells ErrReset (the tunnel's side), ErrApp (the application's), ErrIdle
// or ctx's cause. app is not the caller's any more.
//
// While nothing moves it holds this goroutine and no buffer.
func (s *Stream) Splice(ctx context.Context, app App, o SpliceOptions) error {
	if t, ok := s.c.d.(*tunnel); ok {
		done := make(chan error, 1)
		t.spliceOn(newEnding(ctx, s, o, 0), app, func(err error) { done <- err })
		return <-done
	}
	return s.splice(ctx, app, o)
}

// Start is Splice for a caller that does not wait: done is called with what Splice would return, on a goroutine
// of its own. On a shard an idle splice then holds no goroutine at all. The stream and its header are not the
// caller's any more; on a server it lives on after its handler.
func (s *Stream) Start(ctx context.Context, app App, o SpliceOptions, done func(error)) {
	s.started.Store(true)
	s.header = nil
	if r := s.running; r != nil { // the handler holds one, so this is not from zero
		r.Add(1)
		next := done
		done = func(err error) {
			defer r.Done()
			next(err)
		}
	}
	if t, ok := s.c.d.(*tunnel); ok {
		t.spliceOn(newEnding(ctx, s, o, 0), app, func(err error) { go done(err) })
		return
	}
	go func() { done(s.splice(ctx, app, o)) }()
}

// splice is Splice on the goroutine driver.
func (s *Stream) splice(ctx context.Context, app App, o SpliceOptions) error {
	raw, err := app.SyscallConn()
	if err != nil {
		s.Reset()
		app.Close()
		return fmt.Errorf("%w: %w", ErrApp, err)
	}
	p := &splice{ending: newEnding(ctx, s, o, 0)}
	defer p.release()
	p.k = newSink(s, app, raw, p.o.ToApp)
	p.read = p.tryRead
	s.attach(p.k)
	up := p.upload()
	if up == nil {
		<-p.k.over
	}
	return p.close(up)
}

type splice struct {
	*ending
	k *sink

	stall *time.Timer // kept for the next time

	read func(uintptr) bool
	got  int // of the read under way: bytes, or one of the below
	err  error
}

const (
	gotEOF     = 0
	gotStalled = -1
	gotBroken  = -2
)

// upload moves bytes from the application into the tunnel until the application has finished.
func (p *splice) upload() error {
	for {
		p.got, p.err = gotBroken, nil
		err := p.k.raw.Read(p.read)
		if err == nil {
			err = p.err
		}
		switch {
		case p.got > 0:
			p.o.ToTunnel.Add(uint64(p.got))
			p.s.sent(p.got)
			p.s.c.mu.Lock() // only now: to wait for the tunnel inside Read would hold up a Close of app
			p.s.c.d.flush()
			p.s.c.mu.Unlock()
		case err != nil:
			return err
		case p.got == gotEOF:
			if err := p.s.lost(); err != nil {
				return err
			}
			return p.s.CloseWrite()
		case p.got == gotStalled:
			if err := p.await(); err != nil {
				return err
			}
		}
	}
}

// tryRead reads from the application straight into the connection's output.
func (p *splice) tryRead(fd uintptr) bool {
	s, c := p.s, p.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.broken(); err != nil {
		p.err = err
		return true
	}
	room := c.room(s, c.env.limits.Batch)
	if room == 0 {
		p.got = gotStalled
		return true
	}
	frame := c.space(room)
	n, err := unix.Read(int(fd), frame[engine.HeaderLen:])
	for err == unix.EINTR {
		n, err = unix.Read(int(fd), frame[engine.HeaderLen:])
	}
	switch {
	case err == unix.EAGAIN:
		c.dropSpace(s)
		return false
	case err != nil:
		c.dropSpace(s)
		p.err = os.NewSyscallError("read", err)
		return true
	case n == 0:
		c.dropSpace(s)
		p.got = gotEOF
		return true
	}
	p.got = n
	c.commit(s, frame, n, n == room)
	return true
}

// await waits until the stream may send, and looks now and then whether the application is still there,
// which nothing else would tell.
func (p *splice) await() error {
	s, c := p.s, p.s.c
	c.mu.Lock()
	if s.broken() != nil || c.room(s, c.env.limits.Batch) > 0 {
		c.mu.Unlock()
		return nil
	}
	wake := c.wait(s)
	c.mu.Unlock()
	if p.stall == nil {
		p.stall = time.NewTimer(stallCheck)
	} else {
		p.stall.Reset(stallCheck)
	}
	defer p.stall.Stop()
	for {
		select {
		case <-wake:
			return nil
		case <-p.stall.C:
			if dead(p.k.raw) {
				return os.NewSyscallError("read", unix.ECONNRESET)
			}
			p.stall.Reset(stallCheck)
		}
	}
}

const stallCheck = time.Second

// dead reports that the kernel has given up a connection.
func dead(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		gone = err == nil && i.State == unix.BPF_TCP_CLOSE
	})
	return gone || err != nil
}

// close ends both sides, and finds the error to report.
func (p *splice) close(up error) error {
	s, k := p.s, p.k
	s.rmu.Lock()
	broken, reset := k.broken, s.reset
	s.rmu.Unlock()
	err, hard := p.verdict(errors.Join(up, broken), reset)
	if hard {
		p.resetApp()
	} else {
		k.app.Close()
	}
	return err
}

// resetApp closes the application's connection so that it sees a reset. A failure means it is gone already.
func (p *splice) resetApp() {
	_ = p.k.app.SetLinger(0)
	p.k.app.Close()
}
