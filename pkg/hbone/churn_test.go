package hbone

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Connections come, move bytes, end or break in every way, while tunnel connections are cut and retired
// under them. What arrives is right or broken, never short; and nothing is left behind.
func TestChurn(t *testing.T) {
	app := listen(t)
	go serve(app, func(c net.Conn) {
		first := make([]byte, 1)
		if _, err := io.ReadFull(c, first); err != nil {
			return
		}
		switch first[0] {
		case 'r': // reset in the middle
			io.CopyN(io.Discard, c, 1000)
			c.(*net.TCPConn).SetLinger(0)
		default:
			io.Copy(c, struct{ io.Reader }{c})
			c.(*net.TCPConn).CloseWrite()
		}
	})
	w := newWorld(t, setup{handler: toApp(app.Addr().String())})
	msg := random(200 << 10)
	var good, broken atomic.Int32
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			switch i % 4 {
			case 0:
				w.pool.Retire(func(Key) bool { return true })
			case 1:
				w.server.CloseIf(func(ConnInfo) bool { return rand.IntN(3) == 0 })
			case 2:
				w.pool.CloseIf(func(Key) bool { return rand.IntN(3) == 0 })
			}
		}
	})
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for i := range 60 {
				whole, err := w.visit(app, i, msg)
				switch {
				case err == nil && !whole && i%4 == 0:
					t.Error("a short answer ended in good order")
				case err == nil:
					good.Add(1)
				default:
					broken.Add(1)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	wg.Wait()
	t.Logf("%d ended well, %d broke", good.Load(), broken.Load())
	if good.Load() == 0 || broken.Load() == 0 {
		t.Error("this is no churn")
	}
	eventually(t, "no stream is left", func() bool {
		n := 0
		for _, c := range append(w.pool.Conns(), w.server.Conns()...) {
			n += c.Streams
		}
		return n == 0
	})
	s := w.open()
	s.Close()
}

// visit is one connection through the tunnel; whole tells whether everything came back.
func (w *world) visit(app net.Listener, kind int, msg []byte) (whole bool, err error) {
	s, err := w.pool.Open(context.Background(), w.key, "a:1", nil)
	if err != nil {
		return false, err
	}
	outer, inner := tcpPair(w.t)
	done := make(chan struct{})
	go func() {
		s.Splice(context.Background(), inner, SpliceOptions{})
		close(done)
	}()
	defer func() {
		outer.Close()
		<-done
	}()
	switch kind % 4 {
	case 1: // give up in the middle
		outer.Write(msg[:1000])
		outer.SetLinger(0)
		return false, io.ErrUnexpectedEOF
	case 2:
		outer.Write([]byte("r"))
	case 3: // close without reading
		outer.Write(msg)
		return false, nil
	}
	if _, err := outer.Write([]byte("e")); err != nil {
		return false, err
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := outer.Write(msg)
		outer.CloseWrite()
		wrote <- err
	}()
	got, err := io.ReadAll(outer)
	if werr := <-wrote; err == nil {
		err = werr // the kernel tells only one of the two of a reset
	}
	return bytes.Equal(got, msg), err
}
