package zds

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Peer is a ztunnel that is, or was, connected.
type Peer struct {
	ID        uint64    // counts connections from 1; a ztunnel that reconnects is a new Peer
	PID       int       // of the process that connected, in the agent's PID namespace
	UID       uint32    // user that it ran as
	Connected time.Time // when
}

// IsZero says that this is no peer at all.
func (p Peer) IsZero() bool { return p.ID == 0 }

func (p Peer) String() string {
	if p.IsZero() {
		return "no ztunnel"
	}
	return fmt.Sprintf("ztunnel pid %d (connection %d)", p.PID, p.ID)
}

// whoIs reads from the kernel who connected.
func whoIs(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) { cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return nil, err
	}
	if got != nil {
		return nil, fmt.Errorf("who connected to the ZDS socket: %w", got)
	}
	if cred.Pid == 0 {
		return nil, errors.New("the process at the ZDS socket is not visible from the agent's PID namespace: run the agent with the host's (hostPID: true)")
	}
	return cred, nil
}
