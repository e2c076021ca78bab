package enroll

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/netns"
)

// Namespace is a pod's network namespace.
type Namespace interface {
	Cookie() uint64                           // never used twice
	File() (*os.File, error)                  // a duplicate, the caller's
	Close() error                             //
	Listeners(pid int) (bpf.Listeners, error) // that a process has opened in it
}

// OpenNamespace opens the one at path.
func OpenNamespace(path string) (Namespace, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w (has the pod's sandbox been made, and is --netns-pattern right?)", err)
	}
	return namespace{ns}, nil
}

type namespace struct{ *netns.NS }

// Listeners takes those of a process. One that listens on :: for IPv4 as well, as ztunnels of other makers
// do, serves both.
func (n namespace) Listeners(pid int) (bpf.Listeners, error) {
	ls, err := bpf.TakeListeners(n.NS, pid)
	if err != nil {
		return ls, err
	}
	const v6 = bpf.Inbound6 - bpf.Inbound
	for s := bpf.Inbound; s < bpf.Inbound6; s++ {
		if ls[s] != nil || ls[s+v6] == nil || !dualStack(ls[s+v6]) {
			continue
		}
		if ls[s], err = duplicate(ls[s+v6]); err != nil {
			ls.Close()
			return ls, err
		}
	}
	return ls, nil
}

// dualStack tells whether an IPv6 socket takes IPv4 as well: bound to :: and not told otherwise.
func dualStack(f *os.File) bool {
	yes := false
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		only, err := unix.GetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_V6ONLY)
		sa, aerr := unix.Getsockname(int(fd))
		a, ok := sa.(*unix.SockaddrInet6)
		yes = err == nil && aerr == nil && only == 0 && ok && a.Addr == [16]byte{}
	})
	return yes && err == nil
}

func duplicate(f *os.File) (*os.File, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("dup", dupErr)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// errListeners: the ztunnel said Ack and does not listen.
var errListeners = errors.New("ztunnel acknowledged the pod but does not listen in its namespace")

// check tells whether a pod can be captured for these listeners, and whether they answer names.
func check(p Pod, ls *bpf.Listeners) (dns bool, err error) {
	var v4, v6 bool
	for _, a := range p.Addresses {
		v4, v6 = v4 || a.Is4(), v6 || a.Is6()
	}
	if missing := ls.Missing(v4, v6, false); len(missing) > 0 {
		return false, fmt.Errorf("%w: nothing for %v", errListeners, missing)
	}
	return len(ls.Missing(v4, v6, true)) == 0, nil
}

// NetnsPattern makes a function that finds a pod's namespace by a pattern with {namespace}, {name} and {uid},
// such as /run/netns/{namespace}-{name}.
func NetnsPattern(pattern string) (func(Pod) (string, error), error) {
	if !strings.HasPrefix(pattern, "/") || !strings.Contains(pattern, "{name}") && !strings.Contains(pattern, "{uid}") {
		return nil, fmt.Errorf("netns pattern %q: want an absolute path with {namespace} and {name}, or with {uid}", pattern)
	}
	return func(p Pod) (string, error) {
		for _, v := range []string{p.Namespace, p.Name, p.UID} {
			// A UID that was made up is namespace/name.
			if strings.ContainsAny(v, "/\x00") && v != p.Key() || v == "" || strings.HasPrefix(v, ".") {
				return "", fmt.Errorf("pod %s: %q cannot be part of a path", p.Key(), v)
			}
		}
		return strings.NewReplacer("{namespace}", p.Namespace, "{name}", p.Name, "{uid}", strings.ReplaceAll(p.UID, "/", "_")).Replace(pattern), nil
	}, nil
}
