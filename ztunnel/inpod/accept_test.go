package inpod

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// exhaust takes every descriptor that is left and returns how to give them back.
func exhaust(t *testing.T) (release func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var held []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			if !errors.Is(err, unix.EMFILE) {
				t.Fatal(err)
			}
			break
		}
		held = append(held, f)
	}
	return func() {
		for _, f := range held {
			f.Close()
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
}

func TestAcceptWithoutDescriptors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		return c
	}
	a := NewAcceptor(zap.NewNop(), nil)
	var waiting []net.Conn
	for range 5 {
		waiting = append(waiting, dial()) // in the accept queue
	}
	release := exhaust(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Loop(l, func(c net.Conn) {
			c.Write([]byte("hi"))
			c.Close()
		})
	}()
	for i, c := range waiting {
		start := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("client %d of a full proxy: %v", i, err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("client %d was refused after %v", i, d)
		}
		defer c.Close() // not before: it would free a descriptor
	}
	release()
	c := dial()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hi" {
		t.Errorf("after recovery: %q %v", b, err)
	}
	c.Close()
	l.Close()
	<-done
}
