package hbone

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a shard. Its sockets do not block, so the scheduler need not be told of the calls: it
// would only take the shard's processor away during long ones.

// maxSegs is how many segments one call takes.
const maxSegs = 64

// vector is where a shard lays out segments for the kernel.
type vector [maxSegs]unix.Iovec

// set lays out segs, at most maxSegs of them, and returns the sum of their lengths.
func (v *vector) set(segs [][]byte) (total int) {
	for i, p := range segs {
		v[i].Base = unsafe.SliceData(p)
		v[i].SetLen(len(p))
		total += len(p)
	}
	return total
}

// read is readv. segs is not empty.
func (v *vector) read(fd int, segs [][]byte) (int, unix.Errno) {
	if len(segs) == 1 {
		return rawIO(unix.SYS_READ, fd, segs[0])
	}
	v.set(segs)
	return v.call(unix.SYS_READV, fd, len(segs))
}

// write is writev; total is what there was to be written.
func (v *vector) write(fd int, segs [][]byte) (n, total int, e unix.Errno) {
	if len(segs) == 1 {
		n, e = rawIO(unix.SYS_WRITE, fd, segs[0])
		return n, len(segs[0]), e
	}
	total = v.set(segs)
	n, e = v.call(unix.SYS_WRITEV, fd, len(segs))
	return n, total, e
}

// call is readv or writev of the first n segments.
func (v *vector) call(nr uintptr, fd, n int) (int, unix.Errno) {
	for {
		m, _, e := syscall.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(v)), uintptr(n)) //nolint:gosec // the kernel wants an address
		if e == 0 {
			return int(m), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// rawIO is read or write of one slice, which is not empty.
func rawIO(nr uintptr, fd int, p []byte) (int, unix.Errno) {
	for {
		n, _, e := syscall.RawSyscall(nr, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p))) //nolint:gosec // the same
		if e == 0 {
			return int(n), 0
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

// epollWait blocks for at most ms milliseconds without the scheduler's knowledge. A signal, such as that of a
// stop of the world, ends it.
func epollWait(ep int, evs []unix.EpollEvent, ms int) (int, error) {
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(unsafe.SliceData(evs))), uintptr(len(evs)), uintptr(ms), 0, 0) //nolint:gosec // the same
	switch e {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, e
}

// takeFD takes the socket out of c, which is closed: from here on nobody but the caller uses it.
func takeFD(c net.Conn) (fd int, err error) {
	defer c.Close()
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("%T has no socket that a shard could take", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dup error
	err = raw.Control(func(f uintptr) { fd, dup = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 3) })
	if err == nil && dup != nil {
		err = os.NewSyscallError("dup", dup)
	}
	return fd, err
}

// resetFD closes fd so that its peer sees a reset.
func resetFD(fd int) {
	// A failure means that the connection is gone already.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}
