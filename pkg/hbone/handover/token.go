package handover

import (
	"os"

	"golang.org/x/sys/unix"
)

// newToken makes what one process in the world can take, once.
func newToken() (int, error) {
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE)
	return fd, os.NewSyscallError("eventfd", err)
}

// takeToken reports that the caller has taken it. Whatever else happens, it has not.
func takeToken(fd int) bool {
	var b [8]byte
	for {
		n, err := unix.Read(fd, b[:])
		if err != unix.EINTR {
			return err == nil && n == len(b)
		}
	}
}
