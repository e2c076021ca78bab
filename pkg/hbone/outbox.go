package hbone

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
)

// A tunnel's output: a buffer with as many records as one system call is to write. What comes from
// applications is read into the records' payload slots and sealed in place; what the connection itself has to
// say is sealed behind it at the end of a turn. A buffer is held only until it is written.

// gather seals what the connection itself, or a Write, has to say.
func (t *tunnel) gather() {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		t.sayGoodbye()
		return
	}
	switch {
	case c.pending() || t.out.Due():
		t.sealPending()
	case t.head < t.tail:
		c.bulkGen++
		c.letGo(c.env.clock.Now())
	}
}

// sealPending seals what the engine and Write have left; c.mu is held.
func (t *tunnel) sealPending() {
	c := t.c
	if t.out.Due() {
		t.make(2 * record.Overhead)
		t.tail = len(t.out.AppendDue(t.buf[:t.tail]))
	}
	buf := c.bulkBuf
	urgent, bulk := c.takeOut()
	t.seal(urgent)
	c.eng.Recycle(urgent)
	t.seal(bulk)
	c.env.plain.put(buf)
}

// make makes room for n more bytes.
func (t *tunnel) make(n int) {
	if t.buf == nil {
		t.buf = t.sh.outs.get()
		t.head, t.tail = 0, 0
	}
	if t.tail+n > len(t.buf) { // more than anybody should have to say
		t.buf = append(t.buf[:t.tail:t.tail], make([]byte, n)...)
	}
}

// seal appends p as records.
func (t *tunnel) seal(p []byte) {
	for len(p) > 0 {
		n := min(len(p), record.MaxPayload)
		t.make(n + 3*record.Overhead) // and a KeyUpdate, perhaps
		if t.out.Due() {
			t.tail = len(t.out.AppendDue(t.buf[:t.tail]))
		}
		copy(t.buf[t.tail+record.HeaderLen:], p[:n])
		t.sealed(t.out.Seal(t.buf[t.tail:], n))
		p = p[n:]
	}
}

// roomFor reports that there is room for n bytes of an application, or a good part of them, after having written
// if need be. false: the socket is full.
func (t *tunnel) roomFor(n int) bool {
	const most = outSlots * stride
	if t.holding && n > small {
		t.push() // what is small, and lies there, leaves before bulk is even read
	}
	for t.tail > 0 && !t.full && most-t.tail < min(n/record.MaxPayload+1, outSlots/4)*stride {
		t.push()
	}
	return !t.full
}

// slots lays out n bytes of a DATA frame, or as many as there is room for, in records behind those sealed; c.mu
// is held.
func (t *tunnel) slots(n int) (segs [][]byte, total int) {
	t.make(stride)
	segs = t.sh.segs[:0]
	head := engine.HeaderLen
	for at := t.tail; n > total && len(segs) < maxSegs && at+stride <= len(t.buf); at += stride {
		k := min(n-total, record.MaxPayload-head)
		from := at + record.HeaderLen + head
		segs = append(segs, t.buf[from:from+k])
		total += k
		head = 0
	}
	return segs, total
}

// sealFrame seals the DATA frame of n bytes that lies in the slots.
func (t *tunnel) sealFrame(n int) {
	for left := n + engine.HeaderLen; left > 0; {
		k := min(left, record.MaxPayload)
		t.sealed(t.out.Seal(t.buf[t.tail:], k))
		left -= k
	}
}

// sealed counts a record.
func (t *tunnel) sealed(n int, err error) {
	t.tail += n
	if err != nil && t.fault == nil {
		t.fault = err
	}
}

// push writes once.
func (t *tunnel) push() {
	if t.head == t.tail || t.full {
		return
	}
	n, e := rawIO(unix.SYS_WRITE, t.fd, t.buf[t.head:t.tail])
	c := t.c
	t.head += n
	switch {
	case e == 0 && t.head == t.tail:
		t.head, t.tail = 0, 0
		if !c.writing { // only this goroutine sets it
			return
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
	case e == 0 || e == unix.EAGAIN:
		t.full = e != 0
		c.mu.Lock()
		if now := c.env.clock.Now(); n > 0 || !c.writing {
			c.writing, c.since = true, now
		}
		c.mu.Unlock()
	default:
		t.head, t.tail, t.eof = 0, 0, true
		t.c.fail(t.c.refusal(os.NewSyscallError("write", e)))
	}
}
