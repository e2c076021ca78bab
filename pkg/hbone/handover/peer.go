package handover

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

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
	cred, err := credentials(c)
	if err != nil {
		return fmt.Errorf("who is at the hand-over's socket: %w", err)
	}
	p := Peer{PID: int(cred.Pid), UID: cred.Uid}
	if p.UID != uint32(os.Geteuid()) {
		return refused("process %d is of user %d, not of %d", p.PID, p.UID, os.Geteuid())
	}
	if o.Vouch != nil {
		if err := o.Vouch(c); !errors.Is(err, ErrNoVoucher) {
			if err != nil {
				err = refused("%w", err)
			}
			return err
		}
	}
	if p.PID == 0 {
		return refused("its process cannot be seen from this PID namespace (let weft-agent vouch, or run both in the host's: hostPID)")
	}
	if p.Cgroup, err = livingCgroup(p.PID); err != nil {
		return refused("process %d: %w", p.PID, err)
	}
	if err := o.Allow(p); err != nil {
		return refused("process %d: %w", p.PID, err)
	}
	return nil
}

// credentials are those of the process that connected, or listened, at the other end.
func credentials(c syscall.Conn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var got error
	err = raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(err, got)
}

// livingCgroup is the cgroup of a process that still lived when it was read, so that it is not another's with the
// same number.
func livingCgroup(pid int) (group string, err error) {
	err = whileAlive(pid, func() error {
		group, err = cgroupOf(pid)
		return err
	})
	return group, err
}

// whileAlive looks at a process, and fails if it has ended meanwhile.
func whileAlive(pid int, look func() error) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if err := look(); err != nil {
		return err
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
		return errors.New("it has ended")
	}
	return nil
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
