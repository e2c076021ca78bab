package zds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"istio.io/istio/pkg/zdsapi"
)

// window is how many requests may be on their way without an Ack.
const window = 16

// call is one request and what becomes of it.
type call struct {
	req  *zdsapi.WorkloadRequest
	file *os.File // sent along; stays its owner's
	done func(error)
}

// link is the agent's side of one connection. Calls are sent in the order in which they were queued, and
// answered in that order.
type link struct {
	packets
	peer    Peer
	timeout time.Duration

	mu      sync.Mutex // protects what follows
	queue   []*call    // not sent yet
	pending []*call    // sent, oldest first
	err     error      // why the link ended; nil while it lives
	wake    chan struct{}
}

func newLink(c *net.UnixConn, peer Peer, timeout time.Duration) *link {
	return &link{packets: packets{c: c}, peer: peer, timeout: timeout, wake: make(chan struct{}, 1)}
}

// enqueue never waits. done is called exactly once, on some other goroutine, or at once if the link ended.
func (l *link) enqueue(c *call) {
	l.mu.Lock()
	err := l.err
	if err == nil {
		l.queue = append(l.queue, c)
	}
	l.mu.Unlock()
	if err != nil {
		c.done(err)
		return
	}
	l.signal()
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run moves calls until the connection ends or ctx does; it returns why. Calls without an answer fail then.
func (l *link) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.c.Close() })
	defer stop()
	sent := make(chan error, 1)
	go func() {
		defer cancel() // ends the reader
		sent <- l.send(ctx)
	}()
	err := l.receive()
	cancel()
	if werr := <-sent; werr != nil {
		err = werr
	}
	l.end(fmt.Errorf("%w: %w", ErrDisconnected, err))
	return err
}

func (l *link) end(err error) {
	l.mu.Lock()
	l.err = err
	left := append(l.pending, l.queue...)
	l.pending, l.queue = nil, nil
	l.mu.Unlock()
	for _, c := range left {
		c.done(err)
	}
}

// send writes what is queued, as far as the window allows. nil: ctx ended.
func (l *link) send(ctx context.Context) error {
	for {
		c := l.next()
		if c == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-l.wake:
			}
			continue
		}
		switch err := l.write(c.req, c.file); {
		case errors.Is(err, ErrGone): // nothing was sent, so no Ack will come
			l.withdraw(c)
			c.done(err)
		case err != nil:
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// next takes a call from the queue into pending: before it is sent, for its Ack may be quick.
func (l *link) next() *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 || len(l.pending) >= window {
		return nil
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	if len(l.pending) == 0 {
		_ = l.c.SetReadDeadline(time.Now().Add(l.timeout))
	}
	l.pending = append(l.pending, c)
	return c
}

// withdraw takes back the youngest pending call.
func (l *link) withdraw(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.pending) - 1; n >= 0 && l.pending[n] == c {
		l.pending = l.pending[:n]
		l.deadline()
	}
}

// receive gives Acks to the calls that they answer.
func (l *link) receive() error {
	for {
		var resp zdsapi.WorkloadResponse
		files, _, err := l.read(&resp)
		closeAll(files) // none belong here
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no Ack within %v: the ztunnel hangs", l.timeout)
		}
		if err != nil {
			return err
		}
		ack := resp.GetAck()
		if ack == nil {
			return fmt.Errorf("a response that is no Ack: %v", &resp)
		}
		c := l.answered()
		if c == nil {
			return errors.New("an Ack that nothing was asked for")
		}
		if ack.GetError() != "" {
			c.done(fmt.Errorf("%w: %s", ErrRefused, ack.GetError()))
		} else {
			c.done(nil)
		}
		l.signal()
	}
}

func (l *link) answered() *call {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return nil
	}
	c := l.pending[0]
	l.pending = append(l.pending[:0], l.pending[1:]...)
	l.deadline()
	return c
}

// deadline gives the oldest pending call its time. l.mu is held.
func (l *link) deadline() {
	var at time.Time
	if len(l.pending) > 0 {
		at = time.Now().Add(l.timeout)
	}
	_ = l.c.SetReadDeadline(at) // fails only once the connection is closed, and then so does the read
}
