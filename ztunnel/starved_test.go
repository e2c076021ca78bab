package ztunnel_test

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// clients are sockets made in advance in a pod, to be connected when no descriptor is to be had.
func (l *kernelLab) clients(pod string, n int) (fds []int) {
	l.t.Helper()
	must(l.t, l.pods[pod].Do(func() error {
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			l.t.Cleanup(func() { unix.Close(fd) })
			wait := unix.Timeval{Sec: 10}
			if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
				unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)); err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		return nil
	}))
	return fds
}

// connectAndRead is nil only if the application was heard.
func connectAndRead(fd int, to netip.AddrPort) error {
	// The runtime's signals interrupt both calls; the kernel goes on where it was.
	err := unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err, _ = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}).(unix.Errno)
	}
	if err != 0 && !errors.Is(err, unix.EISCONN) {
		return err
	}
	return readOne(fd)
}

func readOne(fd int) error {
	n, err := unix.Read(fd, make([]byte, 1))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(fd, make([]byte, 1))
	}
	if err == nil && n == 0 {
		return errors.New("closed without a word")
	}
	return err
}

// hoard takes every descriptor that the process may have but some.
func hoard(t *testing.T, spare int) (release func()) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	tight := old
	tight.Cur = uint64(descriptors(t) + 100)
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &tight))
	var held []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		held = append(held, f)
	}
	for _, f := range held[:spare] {
		f.Close()
	}
	return func() {
		for _, f := range held {
			f.Close()
		}
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old))
	}
}

// With its descriptors used up a ztunnel refuses new connections, of every pod and at once; those that
// live go on, and when there are descriptors again everything is as before.
func TestDescriptorsUsedUp(t *testing.T) {
	l, n := kernelMesh(t)
	living, err := l.hello("front-1", "10.96.0.2:80")
	must(t, err)
	vip, podAddr := netip.MustParseAddrPort("10.96.0.2:80"), netip.MustParseAddrPort("10.78.0.2:8080")
	before := descriptors(t)
	for _, spare := range []int{0, 1} { // with one, a connection may be taken and lead nowhere, or even be served
		out, in := l.clients("front-1", 5), l.clients("out", 5)
		release := hoard(t, spare)
		for i := range out {
			for what, err := range map[string]error{"outbound": connectAndRead(out[i], vip), "inbound": connectAndRead(in[i], podAddr)} {
				if err == nil && spare > 0 {
					continue
				}
				if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("%d spare, %s: want it refused, got %v", spare, what, err)
				}
			}
		}
		if got, err := say(living, "still here"); err != nil || got != "still here" {
			t.Errorf("%d spare: a living connection suffered: %q %v", spare, got, err)
		}
		release()
		for _, fd := range append(out, in...) {
			unix.Close(fd)
		}
		until(t, "connections again", func() bool {
			c, err := l.hello("front-1", "10.96.0.2:80")
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	if metric(t, n, "weft_accept_failures_total") == 0 {
		t.Error("the failures were not counted")
	}
	until(t, "as many descriptors as before", func() bool { return descriptors(t) <= before })
}
