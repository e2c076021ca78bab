package hbone

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire stands between crypto/tls and the socket. crypto/tls reads and writes a record at a time; wire reads
// and writes many at once. During the handshake it only passes through.
type wire struct {
	net.Conn
	raw   syscall.RawConn // nil: no socket, reads block
	bufs  *bufPool
	batch bool // the handshake is over

	// The reader's: ciphertext that crypto/tls has not taken.
	in     *[]byte
	r, w   int
	readFn func(uintptr) bool
	readN  int
	readE  error

	mu  sync.Mutex // protects out, which crypto/tls may append to from the reader, too (key updates)
	out []byte     // ciphertext not yet written
	buf *[]byte    // what out lies in
}

func newWire(c net.Conn, bufs *bufPool) *wire {
	w := &wire{Conn: c, bufs: bufs}
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			w.raw = raw
		}
	}
	w.readFn = w.tryRead
	return w
}

// again tells crypto/tls that there is nothing more for now. It keeps what it has.
type again struct{}

func (again) Error() string   { return "no more input yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// Read is called by crypto/tls.
func (w *wire) Read(p []byte) (int, error) {
	if !w.batch {
		return w.Conn.Read(p)
	}
	if w.in == nil {
		return 0, again{}
	}
	n := copy(p, (*w.in)[w.r:w.w])
	if w.r += n; w.r == w.w {
		w.bufs.put(w.in)
		w.in = nil
	}
	return n, nil
}

// fill waits for input, without a buffer, and reads what there is. It may be called when all input was taken.
func (w *wire) fill() error {
	if w.raw == nil {
		w.in = w.bufs.get()
		n, err := w.Conn.Read(*w.in)
		return w.filled(n, err)
	}
	w.readN, w.readE = 0, nil
	err := w.raw.Read(w.readFn)
	switch {
	case err != nil:
	case w.readE != nil:
		err = os.NewSyscallError("read", w.readE)
	case w.readN == 0:
		err = io.EOF
	}
	return w.filled(w.readN, err)
}

func (w *wire) filled(n int, err error) error {
	w.r, w.w = 0, n
	if n > 0 {
		return nil
	}
	if w.in != nil {
		w.bufs.put(w.in)
		w.in = nil
	}
	return err
}

func (w *wire) tryRead(fd uintptr) bool {
	w.in = w.bufs.get()
	for {
		n, err := unix.Read(int(fd), *w.in)
		switch err {
		case nil:
			w.readN = n
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			w.bufs.put(w.in)
			w.in = nil
			return false
		default:
			w.readE = err
		}
		return true
	}
}

// Write is called by crypto/tls.
func (w *wire) Write(p []byte) (int, error) {
	if !w.batch {
		return w.Conn.Write(p)
	}
	w.mu.Lock()
	if w.buf == nil {
		w.buf = w.bufs.get()
		w.out = (*w.buf)[:0]
	}
	w.out = append(w.out, p...)
	w.mu.Unlock()
	return len(p), nil
}

// near reports a path so short that no window has to be full on it. false: not known.
func (w *wire) near() (short bool) {
	if w.raw == nil {
		return false
	}
	// A failure means that the socket is closed.
	_ = w.raw.Control(func(fd uintptr) {
		i, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		short = err == nil && time.Duration(i.Min_rtt)*time.Microsecond < nearPath
	})
	return short
}

// unflushed reports that crypto/tls wrote something by itself.
func (w *wire) unflushed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.out) > 0
}

// flush writes the collected ciphertext. One goroutine at a time may call it.
func (w *wire) flush() error {
	w.mu.Lock()
	out, buf := w.out, w.buf
	w.out, w.buf = nil, nil
	w.mu.Unlock()
	if buf == nil {
		return nil
	}
	_, err := w.Conn.Write(out)
	w.bufs.put(buf)
	return err
}
