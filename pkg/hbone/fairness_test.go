package hbone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// carried is where a connection through a tunnel is written and read.
type carried struct {
	write func([]byte) (int, error)
	read  func([]byte) (int, error)
	close func()
}

// Many streams whose applications always have something to send share one connection: while 128 KiB of
// each arrive on average, none is far ahead of the others and none waits.
func TestManyStreamsProgressEvenly(t *testing.T) {
	up := func(w *world, l net.Listener) carried {
		s := w.splice(l, SpliceOptions{})
		return carried{s.client.Write, s.server.Read, func() { s.client.Close(); s.server.Close() }}
	}
	down := func(w *world, l net.Listener) carried {
		s := w.splice(l, SpliceOptions{})
		return carried{s.server.Write, s.client.Read, func() { s.client.Close(); s.server.Close() }}
	}
	written := func(w *world, l net.Listener) carried {
		s := w.open()
		c, err := l.Accept()
		must(t, err)
		return carried{s.Write, c.Read, func() { s.Close(); c.Close() }}
	}
	for name, kinds := range map[string][2]func(*world, net.Listener) carried{
		"from clients": {up, up}, "from servers": {down, down}, "by Write": {written, written}, "half by Write": {up, written},
	} {
		t.Run(name, func(t *testing.T) {
			// On a busy machine some of thousands of goroutines may not run for all of an attempt. Who starves by
			// the order of sending does so in each.
			var err error
			for range 5 {
				if err = evenly(t, kinds); err == nil {
					return
				}
				t.Log(err)
			}
			t.Error(err)
		})
	}
}

// evenly is nil if all streams made progress alike.
func evenly(t *testing.T, kinds [2]func(*world, net.Listener) carried) (uneven error) {
	const each = 128 << 10
	streams := 1000
	if raceEnabled {
		streams = 200
	}
	l := listen(t)
	lim := Limits{Engine: engine.Options{MaxStreams: streams}}
	w := newWorld(t, setup{handler: toApp(l.Addr().String()), server: lim, client: lim})
	all := make([]carried, streams)
	for i := range all {
		all[i] = kinds[i%2](w, l)
	}
	if n := len(w.pool.Conns()); n != 1 {
		t.Fatalf("%d connections", n)
	}
	m := &marks{counts: make([]atomic.Int64, streams), at: [2]int64{int64(streams) * each, int64(streams) * 2 * each}, over: make(chan struct{})}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i, e := range all {
		wg.Go(func() {
			b := make([]byte, 32<<10)
			for {
				n, err := e.read(b)
				if err != nil {
					return
				}
				m.add(i, int64(n))
			}
		})
		wg.Go(func() {
			<-begin
			for msg := make([]byte, 64<<10); ; {
				if _, err := e.write(msg); err != nil {
					return
				}
			}
		})
	}
	close(begin)
	<-m.over
	for _, e := range all {
		e.close()
	}
	wg.Wait()
	for _, kind := range [2]int{0, 1} {
		got := m.progress(kind)
		n := len(got)
		t.Logf("least %d, a tenth up to %d, median %d, most %d bytes", got[0], got[n/10], got[n/2], got[n-1])
		mean := int64(0)
		for _, x := range got {
			mean += x / int64(n)
		}
		// One in a hundred may not have been scheduled, of thousands of goroutines on a few processors.
		if low, high := got[n/100], got[n-1-n/100]; got[0] == 0 || low < mean/4 || high > 4*mean {
			uneven = fmt.Errorf("not within a quarter and four times of %d", mean)
		}
		// Goroutines that write must be scheduled first, a shard's applications need not.
		if mean < each/32 {
			uneven = errors.Join(uneven, fmt.Errorf("%d bytes on average of %d", mean, each))
		}
	}
	return uneven
}

// marks note what all streams have received when their sum passes two marks.
type marks struct {
	total  atomic.Int64
	counts []atomic.Int64
	at     [2]int64
	notes  [2][]int64
	over   chan struct{}
}

func (m *marks) add(i int, n int64) {
	m.counts[i].Add(n)
	now := m.total.Add(n)
	for k, at := range m.at {
		if now >= at && now-n < at {
			m.notes[k] = make([]int64, len(m.counts))
			for i := range m.counts {
				m.notes[k][i] = m.counts[i].Load()
			}
			if k == 1 {
				close(m.over)
			}
		}
	}
}

// progress is what every second stream has received between the marks, sorted.
func (m *marks) progress(first int) (got []int64) {
	for i := first; i < len(m.counts); i += 2 {
		got = append(got, m.notes[1][i]-m.notes[0][i])
	}
	slices.Sort(got)
	return got
}

// Senders who are called out of the line and end instead leave their place to others: nobody waits for ever.
func TestPlacesInLineAreLeft(t *testing.T) {
	const streams, size = 120, 512 << 10
	lim := Limits{Engine: engine.Options{MaxStreams: streams, StreamWindow: 128 << 10, ConnWindow: 256 << 10}}
	w := newWorld(t, setup{server: lim, client: lim, handler: func(_ context.Context, r *Request) {
		s, err := r.Accept(nil)
		must(t, err)
		io.Copy(io.Discard, s)
		s.CloseWrite()
		s.Close()
	}})
	var wg sync.WaitGroup
	for i := range streams {
		s := w.open()
		wg.Go(func() {
			defer s.Close()
			if i%2 == 0 {
				time.AfterFunc(time.Duration(i)*time.Millisecond/10, s.Reset)
				s.Write(make([]byte, size))
				return
			}
			if n, err := s.Write(make([]byte, size)); n != size {
				t.Errorf("%d bytes were sent, %v", n, err)
			}
			s.CloseWrite()
			if _, err := s.Read(make([]byte, 1)); err != io.EOF {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(w.pool.Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// The same where peers cut the streams of applications.
func TestPlacesOfWhoIsCutAreLeft(t *testing.T) {
	const streams, size, rounds = 80, 512 << 10, 4
	lim := Limits{Engine: engine.Options{MaxStreams: streams, StreamWindow: 128 << 10, ConnWindow: 256 << 10}}
	l := listen(t)
	w := newWorld(t, setup{server: lim, client: lim, handler: toApp(l.Addr().String())})
	for range rounds {
		var wg sync.WaitGroup
		for i := range streams {
			s := w.splice(l, SpliceOptions{})
			wg.Go(func() { _, _ = s.client.Write(make([]byte, size)) })
			wg.Go(func() {
				defer s.client.Close()
				if i%4 != 0 {
					_, _ = io.CopyN(io.Discard, s.server, int64(i)<<10)
					must(t, s.server.SetLinger(0))
					s.server.Close()
					return
				}
				defer s.server.Close()
				if n, err := io.CopyN(io.Discard, s.server, size); err != nil {
					t.Errorf("%d bytes arrived: %v", n, err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(w.pool.Conns()); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// peek runs f on a shard.
type peek struct {
	slot
	f func()
}

func (p *peek) event(uint32) {}
func (p *peek) turn()        { p.f() }

// inLine counts which of some streams stand in a tunnel's lines.
func (t *tunnel) inLine(of map[*Stream]*net.TCPConn) (n int) {
	done := make(chan struct{})
	t.sh.post(&peek{f: func() {
		defer close(done)
		for _, l := range [2]*line{&t.front, &t.line} {
			for a := l.head; a != nil; a = a.behind {
				if of[a.s] != nil {
					n++
				}
			}
		}
	}})
	<-done
	return n
}

// Applications that are gone leave their places even while the window of the whole connection keeps all waiting.
func TestTheGoneLeaveTheLine(t *testing.T) {
	const window, size = 256 << 10, 512 << 10
	lim := Limits{Engine: engine.Options{StreamWindow: window / 2, ConnWindow: window, Budget: 1}}
	reading := make(chan struct{})
	read := sync.OnceFunc(func() { close(reading) })
	w := newWorld(t, setup{server: lim, client: lim, handler: func(_ context.Context, r *Request) {
		s, err := r.Accept(nil)
		must(t, err)
		defer s.Close()
		<-reading
		io.Copy(io.Discard, s)
		s.CloseWrite()
	}})
	t.Cleanup(read)
	var sent atomic.Uint64
	splice := func(n int, results chan<- error) map[*Stream]*net.TCPConn {
		all := map[*Stream]*net.TCPConn{}
		for range n {
			s := w.open()
			client, app := tcpPair(t)
			all[s] = client
			s.Start(context.Background(), app, SpliceOptions{ToTunnel: &sent}, func(err error) { results <- err })
			go func() {
				client.Write(make([]byte, size))
				client.CloseWrite()
			}()
		}
		return all
	}
	living, lost := make(chan error, 4), make(chan error, 8)
	fill := splice(3, living) // three halves of the connection's window
	for s := range fill {
		if _, ok := s.c.d.(*tunnel); !ok {
			t.Skip("this driver has no lines of applications")
		}
	}
	eventually(t, "the connection's window is full", func() bool { return sent.Load() == window })
	first := splice(1, living)
	var tun *tunnel
	for s := range first {
		tun = s.c.d.(*tunnel)
	}
	eventually(t, "one waits in front", func() bool { return tun.inLine(first) == 1 })
	gone := splice(8, lost)
	eventually(t, "others wait behind it", func() bool { return tun.inLine(gone) == len(gone) })
	for _, c := range gone {
		must(t, c.SetLinger(0))
		c.Close()
	}
	for range gone {
		wantErr(t, <-lost, ErrApp)
	}
	eventually(t, "the gone have left it", func() bool { return tun.inLine(gone) == 0 })
	if n := tun.inLine(first); n != 1 {
		t.Errorf("%d in front, want the one that lives", n)
	}
	read()
	for range 4 {
		must(t, <-living)
	}
	if n := sent.Load(); n != 4*size {
		t.Errorf("%d bytes of those that live went into the tunnel, want %d", n, 4*size)
	}
}
