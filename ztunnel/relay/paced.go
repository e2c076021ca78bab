package relay

import (
	"errors"
	"io"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBudget ends a paced connection whose bytes are used up.
var ErrBudget = errors.New("the bytes of the connection are used up")

// Duplex is the far end of a paced connection: a tunnel's stream or a TCP connection.
type Duplex interface {
	// Close of a stream cuts what has not ended.
	io.ReadWriteCloser
	CloseWrite() error
}

// Pace is how a connection is slowed down or cut short.
type Pace struct {
	// Rate is how many bytes may pass in a second in each direction. 0: as many as want to.
	Rate uint64
	// Budget is how many bytes may pass in both directions together, then the connection is reset. Negative: no end.
	Budget int64
	// Lifted reports that neither holds any more. It is asked for every chunk. nil: they hold to the end.
	Lifted func() bool
	// Sleep, for tests. nil: time.Sleep.
	Sleep func(time.Duration)
}

// slice is the time for which bytes pass at once: what a sender sees of the limit is smooth, and a limit that is
// lifted is felt at once.
const slice = 50 * time.Millisecond

// Paced moves bytes as TCP does, slower or not to the end. Every chunk takes the way through this process, which
// nobody pays for but who asked for it.
func Paced(client Conn, server Duplex, p Pace, sent, received *atomic.Uint64) error {
	if p.Sleep == nil {
		p.Sleep = time.Sleep
	}
	if p.Lifted == nil {
		p.Lifted = func() bool { return false }
	}
	left := &atomic.Int64{}
	left.Store(p.Budget)
	if p.Budget < 0 {
		left.Store(math.MaxInt64)
	}
	cut := func() {
		Reset(client)
		cut(server)
	}
	one := func(src io.Reader, dst io.Writer, end func() error, count *atomic.Uint64, from, to error) error {
		err := p.pump(src, dst, left, count, from, to)
		if err == nil {
			if err = end(); errors.Is(err, unix.ENOTCONN) {
				err = nil // gone already, and nothing was lost
			}
		}
		if err != nil {
			cut()
		}
		return err
	}
	if p.Budget == 0 {
		cut()
		return ErrBudget
	}
	down := make(chan error, 1)
	go func() { down <- one(server, client, client.CloseWrite, received, ErrServer, ErrClient) }()
	up := one(client, server, server.CloseWrite, sent, ErrClient, ErrServer)
	err := pacedError(up, <-down)
	if err == nil {
		client.Close()
		server.Close()
	}
	return err
}

func cut(d Duplex) {
	if c, ok := d.(Conn); ok {
		Reset(c)
		return
	}
	d.Close()
}

// pacedError prefers the end that was meant to what followed from it.
func pacedError(a, b error) error {
	if errors.Is(a, ErrBudget) || errors.Is(b, ErrBudget) {
		return ErrBudget
	}
	return first(a, b)
}

// pump copies until src has ended or nothing is left. from and to name the sides in errors.
func (p *Pace) pump(src io.Reader, dst io.Writer, left *atomic.Int64, count *atomic.Uint64, from, to error) error {
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := src.Read((*b)[:chunk(p.Rate)])
		if n > 0 {
			take, last := p.take(n, left)
			m, werr := dst.Write((*b)[:take])
			count.Add(uint64(m))
			switch {
			case werr != nil:
				return errors.Join(to, werr)
			case last:
				return ErrBudget
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(from, err)
		}
	}
}

// take waits until n bytes may pass, and says how many of them do and whether they are the last.
func (p *Pace) take(n int, left *atomic.Int64) (take int, last bool) {
	if p.Lifted() {
		return n, false
	}
	rest := left.Add(-int64(n))
	if rest < 0 {
		n = max(0, n+int(rest))
	}
	if p.Rate > 0 {
		p.Sleep(time.Duration(float64(n) / float64(p.Rate) * float64(time.Second)))
	}
	return n, rest <= 0
}

// chunk is how much may be read at once.
func chunk(rate uint64) int {
	if rate == 0 {
		return bufferSize
	}
	return int(min(max(rate*uint64(slice)/uint64(time.Second), 1), bufferSize))
}
