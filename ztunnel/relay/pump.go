package relay

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pump is one direction. It allocates nothing while bytes move.
type pump struct {
	src, dst *side
	count    *atomic.Uint64

	buf   *[]byte // while bytes move
	n     int     // bytes in buf
	err   error   // of the last read or write
	at    int     // bytes of buf that are written
	wait  bool    // for dst to take more
	read  func(uintptr) bool
	write func(uintptr) bool
}

func newPump(src, dst *side, count *atomic.Uint64) *pump {
	p := &pump{src: src, dst: dst, count: count}
	p.read, p.write = p.tryRead, p.tryWrite
	return p
}

// run copies until src has ended. On a read error dst is reset at once; a write error ends the copying and
// leaves it to the other direction to read what the peer said before it went.
func (p *pump) run() error {
	for {
		n, err := p.receive()
		switch {
		case err != nil:
			Reset(p.dst.conn)
			return p.src.broke(err)
		case n == 0:
			if err := p.dst.conn.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
				return p.dst.broke(err)
			}
			return nil // if not connected it is gone already, and nothing was lost
		}
		err = p.send()
		p.release()
		if err != nil {
			return err
		}
	}
}

func (p *pump) release() {
	if p.buf != nil {
		buffers.Put(p.buf)
		p.buf = nil
	}
}

// receive waits for bytes, without a buffer. 0: src has ended.
func (p *pump) receive() (int, error) {
	p.n, p.err = 0, nil
	err := p.src.raw.Read(p.read)
	switch {
	case err != nil:
	case p.err != nil:
		err = os.NewSyscallError("read", p.err)
	case p.n > 0:
		return p.n, nil
	default:
		err = p.src.lost()
	}
	p.release()
	return 0, err
}

func (p *pump) tryRead(fd uintptr) bool {
	p.buf = buffers.Get().(*[]byte)
	p.n, p.err = retry(int(fd), *p.buf, unix.Read)
	if p.err == unix.EAGAIN {
		p.release()
		return false
	}
	return true
}

// send hands the bytes to the kernel at once where it takes them all, as it mostly does. For a receiver that
// does not keep up it waits as long as the sender is there.
func (p *pump) send() error {
	p.at, p.wait = 0, false
	for p.at < p.n {
		if p.wait {
			// A failure shows in the write.
			_ = p.dst.conn.SetWriteDeadline(time.Now().Add(stallCheck))
		}
		at := p.at
		p.err = nil
		err := errors.Join(p.dst.raw.Write(p.write), os.NewSyscallError("write", p.err))
		p.count.Add(uint64(p.at - at))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && p.src.gone():
			Reset(p.dst.conn)
			return p.src.broke(os.NewSyscallError("read", unix.ECONNRESET))
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			p.src.deafen() // its peer is told by the end of the other direction
			return p.dst.broke(err)
		}
		p.wait = p.wait || p.at < p.n
	}
	if p.wait {
		_ = p.dst.conn.SetWriteDeadline(time.Time{})
	}
	return nil
}

func (p *pump) tryWrite(fd uintptr) bool {
	for p.at < p.n {
		n, err := p.dst.write(fd, (*p.buf)[p.at:p.n])
		p.at += n
		if err == unix.EAGAIN {
			return !p.wait
		}
		if err != nil {
			p.err = err
			return true
		}
	}
	return true
}
