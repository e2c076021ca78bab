package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listener is a listening TCP or bound UDP socket taken from another process.
type Listener struct {
	UDP  bool
	Addr netip.AddrPort // as bound; Addr().Is4() tells the family of the socket
	File *os.File       // a duplicate of the owner's descriptor; the caller closes it
}

// ErrNoListener means that the process holds none of the sockets asked for.
var ErrNoListener = errors.New("no such listening socket")

// FindListeners takes duplicates of those sockets that process pid listens on
// in this namespace at one of the given ports (TCP listening, UDP bound and
// unconnected). Other processes' sockets at these ports are left out, so a pod
// cannot slip its own in. It needs CAP_SYS_PTRACE over pid, and Linux 5.6.
func (n *NS) FindListeners(pid int, ports ...uint16) ([]Listener, error) {
	wanted := map[uint32]socketInfo{}
	for _, proto := range []int{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		socks, err := n.boundSockets(proto)
		if err != nil {
			return nil, err
		}
		for _, s := range socks {
			for _, p := range ports {
				if s.addr.Port() == p {
					wanted[s.inode] = s
				}
			}
		}
	}
	if len(wanted) == 0 {
		return nil, fmt.Errorf("ports %v: %w (has the ztunnel opened its listeners in the pod?)", ports, ErrNoListener)
	}
	found, err := n.take(pid, wanted)
	if err != nil {
		CloseListeners(found)
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("ports %v are held by another process than %d: %w", ports, pid, ErrNoListener)
	}
	return found, nil
}

// CloseListeners closes the taken duplicates; the owner's sockets live on.
func CloseListeners(ls []Listener) {
	for _, l := range ls {
		l.File.Close()
	}
}

func (n *NS) take(pid int, wanted map[uint32]socketInfo) (found []Listener, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("descriptors of process %d: %w", pid, err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("descriptors of process %d: %w", pid, err)
	}
	for _, name := range names {
		if len(wanted) == 0 {
			break
		}
		target, err := os.Readlink(dir + "/" + name)
		if err != nil {
			continue // closed meanwhile
		}
		inode, ok := socketInode(target)
		if !ok {
			continue
		}
		info, ok := wanted[inode]
		if !ok {
			continue
		}
		num, _ := strconv.Atoi(name)
		f, err := n.takeOne(pidfd, num, inode)
		if err != nil {
			return found, fmt.Errorf("take socket %v of process %d: %w", info.addr, pid, err)
		}
		if f == nil {
			continue
		}
		found = append(found, Listener{UDP: info.proto == unix.IPPROTO_UDP, Addr: info.addr, File: f})
		delete(wanted, inode)
	}
	return found, nil
}

func socketInode(link string) (uint32, bool) {
	s, ok := strings.CutPrefix(link, "socket:[")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 32)
	return uint32(v), err == nil
}

// takeOne duplicates one descriptor. The number may have been reused since it
// was read, so the socket taken is checked once more; nil means that it was.
func (n *NS) takeOne(pidfd, num int, inode uint32) (*os.File, error) {
	fd, err := unix.PidfdGetfd(pidfd, num, 0)
	if errors.Is(err, unix.EBADF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_getfd: %w%s", err, ptraceHint(err))
	}
	unix.CloseOnExec(fd)
	var st unix.Stat_t
	cookie, cerr := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err := unix.Fstat(fd, &st); err != nil || uint32(st.Ino) != inode || cerr != nil || cookie != n.cookie {
		unix.Close(fd)
		return nil, nil
	}
	return os.NewFile(uintptr(fd), "taken"), nil
}

func ptraceHint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (needs CAP_SYS_PTRACE)"
	}
	return ""
}
