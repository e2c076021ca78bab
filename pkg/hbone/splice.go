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
}

// Splice moves bytes between s and app until both directions have ended, and closes both. A direction that
// ends is half-closed on the other side; one that breaks resets it. It returns nil for an orderly end, and
// else an error for which errors.Is tells ErrReset (the tunnel's side), ErrApp (the application's), ErrIdle
// or ctx's cause.
//
// While nothing moves it holds this goroutine and no buffer.
func (s *Stream) Splice(ctx context.Context, app App, o SpliceOptions) error {
	raw, err := app.SyscallConn()
	if err != nil {
		s.Reset()
		app.Close()
		return fmt.Errorf("%w: %w", ErrApp, err)
	}
	if o.ToApp == nil {
		o.ToApp = new(atomic.Uint64)
	}
	if o.ToTunnel == nil {
		o.ToTunnel = new(atomic.Uint64)
	}
	p := &splice{s: s, k: newSink(app, raw, o.ToApp), o: o}
	p.read = p.tryRead
	return p.run(ctx)
}

type splice struct {
	s     *Stream
	k     *sink
	o     SpliceOptions
	cause atomic.Pointer[error] // why this side ended it

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

func (p *splice) run(ctx context.Context) error {
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { p.stop(context.Cause(ctx)) })()
	}
	if p.o.Idle > 0 {
		defer p.watch()()
	}
	p.attach()
	up := p.upload()
	if up == nil {
		<-p.k.over
	}
	return p.close(up)
}

// attach makes the stream's reader write to the application from now on.
func (p *splice) attach() {
	s := p.s
	s.rmu.Lock()
	defer s.rmu.Unlock()
	s.sink = p.k
	switch {
	case s.reset != nil:
		p.k.ended(s)
	case s.q.len > 0:
		s.drainLater()
	case s.eof:
		p.k.halfClose()
	}
}

// stop ends the splice from outside.
func (p *splice) stop(err error) {
	p.cause.CompareAndSwap(nil, &err)
	p.s.Reset()
}

// watch ends the splice when it is idle; the function it returns ends the watch.
func (p *splice) watch() func() {
	clock := p.s.c.env.clock
	moved := func() uint64 { return p.o.ToApp.Load() + p.o.ToTunnel.Load() }
	last := moved()
	var t atomic.Pointer[Timer]
	check := func() {
		now := moved()
		if now == last {
			p.stop(fmt.Errorf("%w: nothing moved for %v", ErrIdle, p.o.Idle))
			return
		}
		last = now
		if t := t.Load(); t != nil {
			(*t).Reset(p.o.Idle)
		}
	}
	timer := clock.AfterFunc(p.o.Idle, check)
	t.Store(&timer)
	return func() { timer.Stop() }
}

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
			p.s.c.flush()
			p.s.c.mu.Unlock()
		case err != nil:
			return err
		case p.got == gotEOF:
			if err := p.lost(); err != nil {
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

// lost says what is behind an end that was read: nil if it is one. The kernel reports a reset only once, and
// a write to the same socket may have been the one that was told; rmu is held over every write. It is told of
// EPIPE only if the peer had finished before it reset the connection, so that the end is real.
func (p *splice) lost() error {
	p.s.rmu.Lock()
	defer p.s.rmu.Unlock()
	if errors.Is(p.k.broken, unix.EPIPE) {
		return nil
	}
	return p.k.broken
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
		c.dropSpace()
		return false
	case err != nil:
		c.dropSpace()
		p.err = os.NewSyscallError("read", err)
		return true
	case n == 0:
		c.dropSpace()
		p.got = gotEOF
		return true
	}
	p.got = n
	c.commit(s, frame, n)
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
	if cause := p.cause.Load(); cause != nil {
		p.resetApp()
		return *cause
	}
	if reset != nil {
		p.resetApp()
		return reset
	}
	if err := errors.Join(up, broken); err != nil {
		s.abort(engine.ConnectError)
		p.resetApp()
		var r *ResetError
		if errors.As(err, &r) {
			return r
		}
		return fmt.Errorf("%w: %w", ErrApp, err)
	}
	s.abort(engine.NoError) // both directions have ended: this frees, and resets nothing
	k.app.Close()
	return nil
}

// resetApp closes the application's connection so that it sees a reset. A failure means it is gone already.
func (p *splice) resetApp() {
	_ = p.k.app.SetLinger(0)
	p.k.app.Close()
}
