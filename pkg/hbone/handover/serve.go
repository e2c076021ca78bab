package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// Serve offers what g has to a successor, one at a time, and returns nil when one runs, ctx's cause when that
// ends. report, if any, is told why attempts failed; g has gone on, or, with ErrLost, has its listeners left.
// Whoever serves in o.Dir takes the place of who did before.
func Serve(ctx context.Context, o Options, g Giver, report func(error)) error {
	o = o.withDefaults()
	ln, err := listen(o.Dir)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	if report == nil {
		report = func(error) {}
	}
	conns := make(chan *net.UnixConn)
	var busy atomic.Bool
	go accept(ctx, stop, ln, conns, &busy, o)
	for {
		select {
		case c := <-conns:
			err := give(ctx, o, &line{c, o.Timeout}, g)
			c.Close()
			if err == nil {
				return nil
			}
			report(err)
			busy.Store(false)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// accept passes successors on, and sends those away who come meanwhile.
func accept(ctx context.Context, stop context.CancelCauseFunc, ln *net.UnixListener, conns chan<- *net.UnixConn, busy *atomic.Bool, o Options) {
	for {
		c, err := ln.AcceptUnix()
		if err != nil {
			stop(fmt.Errorf("hand-over: %w", err))
			return
		}
		if !busy.CompareAndSwap(false, true) {
			go func() {
				defer c.Close()
				(&line{c, o.Timeout}).refuse(errors.New("another successor is being served"))
			}()
			continue
		}
		select {
		case conns <- c:
		case <-ctx.Done():
			c.Close()
			return
		}
	}
}

// give goes through the steps with one successor. Nil: it runs.
func give(ctx context.Context, o Options, l *line, g Giver) error {
	if err := peerOf(l.UnixConn, o); err != nil {
		l.refuse(err)
		return err
	}
	token, err := l.welcome(o)
	if err != nil {
		return err
	}
	defer closeAll([]int{token})
	o.step("freeze")
	p, err := freeze(ctx, o, g)
	if err != nil {
		l.refuse(err)
		return err
	}
	o.step("parcel")
	err = l.sendAll(o, p)
	clear(p.State)
	if err == nil {
		o.step("ready")
		_, err = l.receive(msgReady)
	}
	// Whatever was said, or not said: the token tells.
	o.step("token")
	if takeToken(token) {
		g.Thaw()
		if err == nil {
			err = errors.New("hand-over: the successor says it is ready, and has not taken the token")
		}
		return err
	}
	o.step("drop")
	g.Drop()
	o.step("go")
	err = l.send(msgGo, nil)
	if err == nil {
		o.step("running")
		_, err = l.receive(msgRunning)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrLost, err)
		g.Lost(err)
		return err
	}
	g.Done()
	return nil
}

func freeze(ctx context.Context, o Options, g Giver) (Parcel, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	p, err := g.Freeze(ctx)
	if err == nil && (len(p.State) > mostState || len(p.FDs) > mostFDs) {
		clear(p.State)
		g.Thaw()
		err = fmt.Errorf("hand-over: %d bytes of state and %d descriptors are too many", len(p.State), len(p.FDs))
	}
	return p, err
}

// welcome agrees on a version, and gives the token.
func (l *line) welcome(o Options) (token int, err error) {
	hello, err := l.receive(msgHello)
	if err != nil {
		return -1, err
	}
	if len(hello) < 1 || hello[0] != protocol || string(hello[1:]) != o.Version {
		err := refused("the successor's version is %q, ours %q", hello, append([]byte{protocol}, o.Version...))
		l.refuse(err)
		return -1, err
	}
	o.step("welcome")
	if token, err = newToken(); err != nil {
		l.refuse(err)
		return -1, err
	}
	if err = l.sendNumber(msgWelcome, openFDs()); err == nil {
		err = l.sendFDs([]int{token})
	}
	if err != nil {
		closeAll([]int{token})
	}
	return token, err
}

func (l *line) sendAll(o Options, p Parcel) error {
	if err := l.send(msgState, p.State); err != nil {
		return err
	}
	if err := l.sendNumber(msgCount, len(p.FDs)); err != nil {
		return err
	}
	o.step("descriptors")
	return l.sendFDs(p.FDs)
}

// openFDs is about how many descriptors a successor will get.
func openFDs() int {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return min(len(names), mostFDs)
}

// listen makes the socket.
func listen(dir string) (*net.UnixListener, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, SocketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // by then it may be the successor's
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// checkDir refuses a folder in which others could put a socket, or use ours.
func checkDir(dir string) error {
	i, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := i.Sys().(*syscall.Stat_t)
	if !i.IsDir() || !ok || st.Uid != uint32(os.Geteuid()) || i.Mode().Perm()&0o077 != 0 {
		return refused("%s is not a folder of this user alone (chown to user %d, chmod 0700)", dir, os.Geteuid())
	}
	return nil
}
