package hbone

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// offer has s send up to n bytes, as far as there is room; mu is held.
func (c *conn) offer(s *Stream, n int) (sent int) {
	for sent < n {
		room := c.room(s, n-sent)
		if room == 0 {
			break
		}
		c.commit(s, c.space(room), room, room < n)
		sent += room
	}
	return sent
}

// While one bulk is being written, the next is shared out, and small messages go in front of it.
func TestNextBulk(t *testing.T) {
	onStdlib(t, "how goroutines share a bulk")
	w := newWorld(t, setup{})
	small, late, a, b := w.open(), w.open(), w.open(), w.open()
	c := small.c
	eventually(t, "nobody writes", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.writing || c.pending() {
			return false
		}
		c.writing = true // as if we wrote
		return true
	})
	c.mu.Lock()
	c.offer(a, 512<<10)
	c.wait(a)
	c.offer(b, 512<<10)
	c.wait(b)
	_, full := c.takeOut()
	if len(full) > c.env.limits.Batch+slack {
		t.Errorf("%d bytes in one bulk", len(full))
	}
	share := c.env.limits.Batch / 3 // two waited, and one may come
	if n := c.offer(a, 512<<10); n > share {
		t.Errorf("one of two took %d bytes, more than its share of %d", n, share)
	}
	if n := c.offer(b, 512<<10); n < share-smallMessage || n > share {
		t.Errorf("the second of two could take %d bytes of its share of %d", n, share)
	}
	c.offer(w.other(t, c), 512<<10) // fills the bulk
	if n := c.offer(small, 1000); n != 1000 {
		t.Errorf("%d bytes of a small message were taken", n)
	}
	if n := c.offer(late, 3*smallMessage); n != smallMessage {
		t.Errorf("%d bytes of a greater message were taken into a full bulk", n)
	}
	c.endStream(small)
	urgent, bulk := c.takeOut()
	c.mu.Unlock()
	before := map[uint32]int{}
	f := http2.NewFramer(nil, io.MultiReader(bytes.NewReader(urgent), bytes.NewReader(bulk)))
	f.SetMaxReadFrameSize(1 << 20)
	for {
		x, err := f.ReadFrame()
		must(t, err)
		d, ok := x.(*http2.DataFrame)
		if !ok {
			continue
		}
		if d.StreamID == small.es.ID {
			break
		}
		before[d.StreamID] += len(d.Data())
	}
	for id, n := range before {
		if n > frontRoom {
			t.Errorf("%d bytes of stream %d go before the small message", n, id)
		}
	}
	c.fail(ErrClosed)
	c.mu.Lock()
	go c.d.(*goDriver).writeLoop() // takes over what we pretended to do
	c.mu.Unlock()
}

// other opens one more stream on c, whose output is ours.
func (w *world) other(t *testing.T, c *conn) *Stream {
	s := &Stream{c: c, answer: make(chan error, 1)}
	es, err := c.eng.Open("a:1", nil, s)
	must(t, err)
	s.es = es
	return s
}

// Bulk leaves its window part empty while small messages pass, and has it all again after.
func TestBulkIsHeldBesideSmallMessages(t *testing.T) {
	clock := newFakeClock()
	read := make(chan struct{})
	w := newWorld(t, setup{clock: clock, handler: func(ctx context.Context, r *Request) {
		if r.Authority == "bulk:1" {
			s, err := r.Accept(nil)
			if err == nil {
				<-read
				io.Copy(io.Discard, s)
				s.CloseWrite()
			}
			return
		}
		echo(ctx, r)
	}})
	small := w.open()
	c := small.c
	c.mu.Lock()
	c.near = true // whatever the kernel measured on a busy machine
	c.mu.Unlock()
	ask := func() {
		t.Helper()
		small.Write([]byte("ping"))
		if _, err := io.ReadFull(small, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	bulk, err := w.pool.Open(context.Background(), w.key, "bulk:1", nil)
	must(t, err)
	const size = 8 << 20
	go func() {
		bulk.Write(make([]byte, size))
		bulk.CloseWrite()
	}()
	window := 1 << 20
	inFlight := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		n := c.eng.Sendable(bulk.es)
		if !c.eng.Holding() {
			return window - n
		}
		c.eng.Hold(false)
		left := c.eng.Sendable(bulk.es)
		c.eng.Hold(true)
		if n > 0 {
			return 0
		}
		return window - left
	}
	// Nothing has come back yet, so half a window and some is taken for what the peer needs.
	held := window/2 + 128<<10
	eventually(t, "bulk is held", func() bool { return inFlight() == held })
	ask()
	if n := inFlight(); n != held {
		t.Errorf("%d bytes are under way, not %d", n, held)
	}
	clock.advance(time.Second)
	c.tick()
	eventually(t, "bulk fills its window", func() bool { return inFlight() == window })
	close(read)
	ask() // held again, and moving nevertheless
	if _, err := bulk.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("bulk ended by %v", err)
	}
	if n := bulk.out.Load(); n != size {
		t.Errorf("%d bytes were sent", n)
	}
	bulk.Close()
	small.Close()
}

// A message from application to application costs no allocation: none on a shard, and on the goroutine driver
// none but those of crypto/tls, which makes one or two for each record that it reads.
func TestMessagesAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	p := w.splice(l, SpliceOptions{})
	for _, size := range []int{1000, 16 << 10, 500 << 10} {
		msg, got := make([]byte, size), make([]byte, size)
		wrote := make(chan error)
		turns := func(n int) {
			for range n {
				go func() {
					_, err := p.client.Write(msg)
					wrote <- err
				}()
				_, err := io.ReadFull(p.server, got)
				must(t, err)
				must(t, <-wrote)
			}
		}
		const n = 500
		turns(20)
		// Not testing.AllocsPerRun, which leaves one processor to everybody.
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		turns(n)
		runtime.ReadMemStats(&after)
		each := float64(after.Mallocs-before.Mallocs)/n - 1 // the goroutine's
		t.Logf("%.2f allocations for %d bytes", each, size)
		frames := float64(1 + size/(16<<10))
		if most := map[string]float64{"stdlib": 1 + 3*frames, "records": 0.9}[underTest]; each > most {
			t.Errorf("%.2f allocations for %d bytes", each, size)
		}
	}
}
