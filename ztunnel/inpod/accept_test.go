package inpod

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
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
		t.Logf("client %d was refused after %v", i, time.Since(start))
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

// short is a listener of a process that is out of descriptors every other time.
type short struct {
	net.Listener
	calls int
}

func (s *short) Accept() (net.Conn, error) {
	switch s.calls++; {
	case s.calls > 60:
		return nil, net.ErrClosed
	case s.calls%2 == 0:
		return nil, os.NewSyscallError("accept4", unix.EMFILE)
	}
	return nil, nil
}

func (s *short) Addr() net.Addr { return &net.TCPAddr{} }

// A shortage that comes and goes does not fill the log.
func TestShortageIsLoggedSparingly(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	failures := prometheus.NewCounter(prometheus.CounterOpts{Name: "failures"})
	taken := 0
	NewAcceptor(zap.New(core), failures).Loop(&short{}, func(net.Conn) { taken++ })
	if n := logs.Len(); n == 0 || n > 6 {
		t.Errorf("%d lines in the log", n)
	}
	var m dto.Metric
	if err := failures.Write(&m); err != nil || m.GetCounter().GetValue() != 30 || taken != 30 {
		t.Errorf("%v failures counted, %d connections taken, %v", m.GetCounter().GetValue(), taken, err)
	}
}
