package record

import (
	"fmt"
	"net"
)

// wire stands between crypto/tls and the socket during the handshake. crypto/tls reads ahead, and what it has
// swallowed is lost for a later owner of the socket; so it never gets more than the rest of the record that it
// is reading. Keys change only between records, hence nothing of the application's epoch ever enters it.
type wire struct {
	net.Conn
	buf  []byte // read from the socket, not given away
	left int    // bytes of the record under way that were not given away
	over bool   // the handshake is: crypto/tls may neither read nor write any more
}

// readAhead saves system calls: a whole flight of the peer's is usually shorter.
const readAhead = 4096

var errOver = fmt.Errorf("%w: crypto/tls no longer owns it", ErrClosed)

// Read is called by crypto/tls.
func (w *wire) Read(p []byte) (int, error) {
	if w.over {
		return 0, errOver
	}
	if w.left == 0 {
		if err := w.fill(HeaderLen); err != nil {
			return 0, err
		}
		w.left = HeaderLen + bodyLen(w.buf)
	}
	if err := w.fill(1); err != nil {
		return 0, err
	}
	n := copy(p, w.buf[:min(w.left, len(w.buf))])
	w.left -= n
	w.buf = w.buf[n:]
	return n, nil
}

// fill reads until buf has n bytes.
func (w *wire) fill(n int) error {
	for len(w.buf) < n {
		if cap(w.buf)-len(w.buf) < readAhead/2 {
			w.buf = append(make([]byte, 0, readAhead), w.buf...)
		}
		m, err := w.Conn.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+m]
		if m == 0 && err != nil {
			return err
		}
	}
	return nil
}

// Write is called by crypto/tls. What it would write after the handshake, it would seal under the keys that
// are ours by then, with the numbers that we begin at.
func (w *wire) Write(p []byte) (int, error) {
	if w.over {
		return 0, errOver
	}
	return w.Conn.Write(p)
}
