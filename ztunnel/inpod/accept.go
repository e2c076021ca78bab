package inpod

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// Acceptor takes connections from listeners and survives the shortage of descriptors: it then refuses
// what comes in, with the help of one descriptor held in reserve, and goes on.
type Acceptor struct {
	log    *zap.Logger
	errors prometheus.Counter // nil: nobody counts

	mu      sync.Mutex // protects reserve
	reserve *os.File
}

// NewAcceptor makes one for a process.
func NewAcceptor(log *zap.Logger, failures prometheus.Counter) *Acceptor {
	// While a shortage comes and goes a log line for each would fill the disk too.
	few := zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewSamplerWithOptions(c, 10*time.Second, 3, 0) })
	a := &Acceptor{log: log.WithOptions(few), errors: failures}
	a.refill()
	return a
}

func (a *Acceptor) refill() {
	if a.reserve != nil {
		return
	}
	if f, err := os.Open(os.DevNull); err == nil {
		a.reserve = f
	}
}

// Pauses between failed accepts.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Loop gives every connection of l to serve, until l is closed. serve must not block.
func (a *Acceptor) Loop(l net.Listener, serve func(net.Conn)) {
	pause := firstPause
	for {
		c, err := l.Accept()
		if err == nil {
			pause = firstPause
			serve(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if a.errors != nil {
			a.errors.Inc()
		}
		if errors.Is(err, unix.ECONNABORTED) {
			continue // the client went before it was taken
		}
		if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			a.refuse(l)
		}
		if pause == firstPause {
			a.log.Warn("cannot accept connections; refusing until this is over (out of descriptors? raise ztunnel's limit or look at /connections)",
				zap.Stringer("listener", l.Addr()), zap.Error(err))
		}
		time.Sleep(pause)
		pause = min(2*pause, lastPause)
	}
}

// refuse resets the connections that wait, by means of the reserved descriptor, as long as there is no
// other: better refused than left waiting.
func (a *Acceptor) refuse(l net.Listener) {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.starved() && a.resetOne(raw) {
		a.refill()
	}
	a.refill()
}

// starved reports that no descriptor is to be had. a.mu is held.
func (a *Acceptor) starved() bool {
	f, err := os.Open(os.DevNull)
	if err == nil {
		f.Close()
	}
	return err != nil
}

// resetOne gives up the reserve to take a connection and reset it; false when none waits. a.mu is held.
func (a *Acceptor) resetOne(raw syscall.RawConn) (reset bool) {
	if a.reserve != nil {
		a.reserve.Close()
		a.reserve = nil
	}
	err := raw.Control(func(l uintptr) {
		fd, _, err := unix.Accept4(int(l), unix.SOCK_CLOEXEC)
		if err == nil {
			// Without linger the close is a plain end, which still frees the client.
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			_ = unix.Close(fd)
			reset = true
		}
	})
	return reset && err == nil
}
