package hbone

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hangUp closes fd, hard by a reset. lent: another process has got a copy in a hand-over, and may still hold it,
// stopped perhaps for hours; until it lets go, closing alone tells the far end nothing.
func hangUp(fd int, lent, hard bool) {
	switch {
	case lent && hard:
		disconnect(fd)
	case lent:
		// A failure means that the connection is gone already.
		_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	if hard {
		resetFD(fd)
		return
	}
	unix.Close(fd)
}

// disconnect resets a TCP connection, whoever else has a descriptor of it.
func disconnect(fd int) {
	none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	// The same.
	_, _, _ = syscall.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)) //nolint:gosec // the kernel wants an address
}
