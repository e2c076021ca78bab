package hbone

import (
	"crypto/tls"
	"errors"
	"time"
)

// goDriver drives a connection by crypto/tls and goroutines: one waits for its socket without holding a buffer,
// decrypts what came and writes it straight to the applications' sockets; whoever has something to send appends
// it to the connection's output and, if nobody is writing, writes.
type goDriver struct {
	c    *conn
	w    *wire
	tls  *tls.Conn
	loop func()        // writeLoop; starting it allocates nothing
	bye  chan struct{} // the last words are written
}

func newGoDriver(c *conn, w *wire, t *tls.Conn) *goDriver {
	d := &goDriver{c: c, w: w, tls: t, bye: make(chan struct{})}
	d.loop = d.writeLoop
	return d
}

func (d *goDriver) start() { go d.readLoop() }

func (d *goDriver) near() bool { return d.w.near() }

func (d *goDriver) drop() { d.w.Close() }

func (d *goDriver) unflushed() bool { return d.w.unflushed() }

// end gives whoever writes or reads a moment to say goodbye.
func (d *goDriver) end() {
	_ = d.w.SetDeadline(time.Now().Add(lastWords)) // an error shows in what follows
	if !d.c.writing {
		d.c.writing = true
		go d.loop()
	}
}

// flush writes what is pending, if nobody does. What others append during the write is left to a goroutine of
// its own, so that the caller gets back to its stream.
func (d *goDriver) flush() {
	c := d.c
	if c.writing || c.err != nil || !c.pending() {
		return
	}
	c.writing = true
	d.writeOnce()
	if c.err != nil || c.pending() {
		go d.loop()
		return
	}
	c.writing = false
}

// kick has what is pending written by another goroutine. The reader must not write: two readers that wait for
// each other's sockets would never read again.
func (d *goDriver) kick() {
	c := d.c
	if !c.writing && c.err == nil && c.pending() {
		c.writing = true
		go d.loop()
	}
}

func (d *goDriver) writeLoop() {
	c := d.c
	c.mu.Lock()
	for c.err == nil && c.pending() {
		d.writeOnce()
	}
	if c.err == nil {
		c.writing = false
		c.mu.Unlock()
		return
	}
	// The end: say goodbye and close. writing stays set, nobody follows.
	out := c.eng.Take()
	c.mu.Unlock()
	if len(out) > 0 {
		if _, err := d.tls.Write(out); err == nil {
			_ = d.w.flush() // nobody is left to be told
		}
	}
	_ = d.tls.CloseWrite()
	// That has ended the time for writing, and in wire lies what it said, or an alert.
	_ = d.w.SetWriteDeadline(time.Now().Add(lastWords))
	_ = d.w.flush()
	d.hangUp()
	close(d.bye)
	c.settle()
}

// hangUp closes the socket, or only our direction of it where the peer may still be sending: a reset would
// overtake the GOAWAY that tells it why.
func (d *goDriver) hangUp() {
	half, ok := d.w.Conn.(interface{ CloseWrite() error })
	if ok && d.c.faulty() {
		_ = half.CloseWrite()
		return
	}
	d.w.Close()
}

// writeOnce encrypts and writes what is pending; mu is held, but not while it works.
func (d *goDriver) writeOnce() {
	c := d.c
	buf := c.bulkBuf
	urgent, bulk := c.takeOut()
	c.mu.Unlock()
	err := d.encrypt(urgent, bulk)
	c.env.plain.put(buf)
	c.mu.Lock()
	c.eng.Recycle(urgent)
	if err != nil {
		c.failLocked(c.refusalLocked(err))
	}
}

func (d *goDriver) encrypt(urgent, bulk []byte) error {
	for _, p := range [2][]byte{urgent, bulk} {
		if len(p) == 0 {
			continue
		}
		if _, err := d.tls.Write(p); err != nil {
			return err
		}
	}
	return d.w.flush()
}

func (d *goDriver) readLoop() {
	c := d.c
	defer close(c.done)
	err := c.atEOF(d.readAll())
	c.fail(err)
	if c.faulty() {
		d.discard()
	}
	<-d.bye
	d.w.Close()
}

func (d *goDriver) readAll() error {
	c := d.c
	for first := true; ; first = false {
		if !first { // crypto/tls may have read ahead in the handshake
			if err := d.w.fill(); err != nil {
				return c.refusal(err)
			}
		}
		if err := d.readBatch(); err != nil {
			return c.refusal(err)
		}
		c.mu.Lock()
		over := c.err != nil
		c.mu.Unlock()
		if over {
			return nil //nolint:nilerr // the same
		}
	}
}

// readBatch decrypts and handles all input at hand.
func (d *goDriver) readBatch() error {
	buf := d.c.env.plain.get()
	defer d.c.env.plain.put(buf)
	for {
		n, err := d.decrypt(*buf)
		if n > 0 {
			if e := d.c.process((*buf)[:n]); e != nil {
				return e
			}
		}
		if errors.As(err, new(again)) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *goDriver) decrypt(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = d.tls.Read(p[n:])
		n += m
	}
	return n, err
}

// discard reads on for a moment after a fatal error, so that the kernel does not answer what is still on
// its way by a reset, which would overtake our GOAWAY.
func (d *goDriver) discard() {
	_ = d.w.SetReadDeadline(time.Now().Add(lastWords))
	buf := d.c.env.plain.get()
	defer d.c.env.plain.put(buf)
	for left := discardMost; left > 0; {
		n, err := d.w.Conn.Read(*buf)
		if err != nil {
			return
		}
		left -= n
	}
}
