package inpod

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/ztunnel/relay"
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
	a := &Acceptor{log: log, errors: failures}
	a.refill()
	return a
}

func (a *Acceptor) refill() {
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

// refuse resets one waiting connection by means of the reserved descriptor: better refused than left waiting.
func (a *Acceptor) refuse(l net.Listener) {
	d, ok := l.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reserve == nil {
		if a.refill(); a.reserve == nil {
			return
		}
	}
	a.reserve.Close()
	a.reserve = nil
	defer a.refill()
	for range 64 { // what waits now; more comes after the pause
		if d.SetDeadline(time.Now().Add(2*time.Millisecond)) != nil {
			return
		}
		c, err := l.Accept()
		if err != nil {
			break
		}
		if tcp, ok := c.(relay.Conn); ok {
			relay.Reset(tcp)
		} else {
			c.Close()
		}
	}
	_ = d.SetDeadline(time.Time{}) // fails only on a closed listener, which Loop sees
}
