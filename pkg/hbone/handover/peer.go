package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end.
type Peer struct {
	PID int
	UID uint32
	// Cgroup is its path in the unified hierarchy, as seen from the caller's cgroup namespace.
	Cgroup string
}

// peerOf reads from the kernel who is at the other end, and refuses who is not allowed there.
func peerOf(c *net.UnixConn, o Options) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var got error
	err = raw.Control(func(fd uintptr) {
		got = whoIs(int(fd), func(p Peer) error {
			if o.Vouch != nil {
				if err := o.Vouch(c); !errors.Is(err, ErrNoVoucher) {
					return err
				}
			}
			if p.PID == 0 {
				return errors.New("its process cannot be seen from this PID namespace (let weft-agent vouch, or run both in the host's: hostPID)")
			}
			var err error
			if p.Cgroup, err = cgroupOf(p.PID); err != nil {
				return err
			}
			return o.Allow(p)
		})
	})
	return errors.Join(err, got)
}

// whoIs has judge look at the process that connected, or listened, at the other end of a socket, which must be of this
// user, and must still live when judge has looked: what it saw could be another's, with the same number.
func whoIs(socket int, judge func(Peer) error) error {
	cred, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return os.NewSyscallError("SO_PEERCRED", err)
	}
	p := Peer{PID: int(cred.Pid), UID: cred.Uid}
	if p.UID != uint32(os.Geteuid()) {
		return refused("process %d is of user %d, not of %d", p.PID, p.UID, os.Geteuid())
	}
	alive, err := pidfd(socket, p.PID)
	if err != nil {
		return refused("process %d: %w", p.PID, err)
	}
	if alive >= 0 {
		defer unix.Close(alive)
	}
	err = judge(p)
	if alive >= 0 {
		n, failed := poll(alive)
		for errors.Is(failed, unix.EINTR) {
			n, failed = poll(alive)
		}
		if n != 0 || failed != nil {
			err = errors.New("it has ended")
		}
	}
	if err != nil {
		return refused("process %d: %w", p.PID, err)
	}
	return nil
}

// poll looks whether the process behind a pidfd has ended: then n is 1.
func poll(pidfd int) (n int, err error) {
	return unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
}

// pidfd names the process at the other end for as long as it is open; -1 if it cannot be seen from here.
func pidfd(socket, pid int) (int, error) {
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		return fd, nil
	case pid == 0:
		return -1, nil
	case errors.Is(err, unix.ENOPROTOOPT): // Linux before 6.5
		fd, err = unix.PidfdOpen(pid, 0)
	}
	if err != nil {
		err = fmt.Errorf("it has ended: %w", os.NewSyscallError("pidfd", err))
	}
	return fd, err
}

func cgroupOf(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if group, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return group, nil
		}
	}
	return "", errors.New("it is in no cgroup of the unified hierarchy")
}

func sameCgroup(p Peer) error {
	own, err := cgroupOf(os.Getpid())
	if err == nil && own != p.Cgroup {
		err = fmt.Errorf("its cgroup is %s, not %s", p.Cgroup, own)
	}
	return err
}
