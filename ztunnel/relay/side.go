package relay

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// side is one of the two connections, read by one direction and written by the other.
type side struct {
	conn Conn
	raw  syscall.RawConn
	name error // ErrClient or ErrServer

	mu   sync.Mutex // held over every write, so that who reads an end finds what a write was told before
	told error      // what a write was told
}

func (s *side) init() (err error) {
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		return s.broke(err)
	}
	return nil
}

// broke says on which side err happened.
func (s *side) broke(err error) error { return fmt.Errorf("%w: %w", s.name, err) }

// write gives b to the kernel, as much as it takes now.
func (s *side) write(fd uintptr, b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := retry(int(fd), b, unix.Write)
	if err != nil && err != unix.EAGAIN {
		s.told = err
	}
	return n, err
}

// lost says what is behind an end that was read: nil if it is one. The kernel told a write of EPIPE only if
// the peer had finished before it reset the connection, so that the end is real.
func (s *side) lost() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.told, unix.EPIPE) {
		return nil
	}
	return s.told
}

// gone reports that the kernel has given up a connection: its peer reset it, or does not answer.
func (s *side) gone() bool {
	dead := false
	err := s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		dead = err == nil && info.State == unix.BPF_TCP_CLOSE
	})
	return dead || err != nil
}

// deafen stops taking bytes from the peer.
func (s *side) deafen() {
	// A failure means that the connection is gone already.
	_ = s.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RD) })
}

func retry(fd int, b []byte, call func(int, []byte) (int, error)) (int, error) {
	for {
		n, err := call(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
