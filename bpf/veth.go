package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// survey finds out where to attach: nothing is changed yet.
func (r *Redirector) survey(p Pod) (*pod, error) {
	if p.UID == "" {
		return nil, errors.New("no UID")
	}
	n := &pod{record: record{UID: p.UID, NoDNS: p.NoDNS, Direct: p.Direct, HandOver: p.Direct && p.HandOver, Probes: p.ProbePorts[:min(len(p.ProbePorts), maxProbePorts)]}, links: map[string]link.Link{}}
	for _, a := range p.Addresses {
		a = a.Unmap()
		slot := &n.IP4
		if a.Is6() {
			slot = &n.IP6
		}
		if slot.IsValid() && *slot != a {
			return nil, fmt.Errorf("addresses %v and %v: more than one of a family is not supported", *slot, a)
		}
		*slot = a
	}
	if !n.IP4.IsValid() && !n.IP6.IsValid() {
		return nil, errors.New("no address (is the pod's network up?)")
	}
	var err error
	if p.File != nil {
		n.ns, err = netns.FromFile(p.File)
	} else {
		n.ns, err = netns.Open(p.Netns)
	}
	if err != nil {
		return nil, err
	}
	n.Cookie, n.Inode, n.Path = n.ns.Cookie(), n.ns.Inode(), p.Netns
	if n.Cookie == r.o.Node.Cookie() {
		n.close()
		return nil, errors.New("its namespace is the node's own: pods on the host's network cannot be captured")
	}
	if err := errors.Join(r.ends(n), r.foreign(n)); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// foreign refuses a pod whose connections somebody else steers already: another mesh, or this one by another
// agent whose pins are elsewhere. With two of them the first to answer wins, connection by connection.
func (r *Redirector) foreign(p *pod) error {
	var there *link.QueryResult
	err := p.ns.WithFd(func(fd int) (err error) {
		there, err = link.QueryPrograms(link.QueryOptions{Target: fd, Attach: ebpf.AttachSkLookup})
		return err
	})
	if err != nil {
		return fmt.Errorf("programs of the pod's namespace: %w", err)
	}
	own := r.ownLookups(p.Cookie)
	for _, prog := range there.Programs {
		if !own[prog.ID] {
			return fmt.Errorf("%w: eBPF program %d (sk_lookup) is attached to its namespace (see bpftool net; another mesh, or another weft-agent with other --bpf-root: clean up that one first)", ErrForeign, prog.ID)
		}
	}
	return nil
}

// ownLookups are the programs that we have attached to a namespace, by what is pinned.
func (r *Redirector) ownLookups(cookie uint64) map[ebpf.ProgramID]bool {
	r.mu.Lock()
	var pins []string
	for _, p := range r.pods {
		if p.Cookie == cookie {
			pins = append(pins, r.podPin(p, podProgWeftLookup))
		}
	}
	r.mu.Unlock()
	own := map[ebpf.ProgramID]bool{}
	for _, pin := range pins {
		l, err := link.LoadPinnedLink(pin, nil)
		if err != nil {
			continue // not attached yet
		}
		if info, err := l.Info(); err == nil {
			own[info.Program] = true
		}
		l.Close()
	}
	return own
}

// ends finds the pod's interface by its address, and its other end on the node.
func (r *Redirector) ends(p *pod) error {
	inside, err := handle(p.ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	l, err := withAddress(inside, p.IP4, p.IP6)
	if err != nil {
		return err
	}
	p.Device, p.Index = l.Attrs().Name, l.Attrs().Index
	if l.Type() != "veth" {
		return fmt.Errorf("interface %s is of type %s: the guard needs a veth, whose host's end is out of the pod's reach", p.Device, l.Type())
	}
	outside, err := handle(r.o.Node)
	if err != nil {
		return err
	}
	defer outside.Close()
	h, err := outside.LinkByIndex(l.Attrs().ParentIndex)
	if err != nil {
		return fmt.Errorf("host's end of %s, interface %d, is not in the agent's namespace: %w (is the agent on the host's network?)", p.Device, l.Attrs().ParentIndex, err)
	}
	// The number could be another pod's veth by chance: it must point back.
	id := -1
	err = p.ns.WithFd(func(fd int) (err error) {
		id, err = outside.GetNetNsIdByFd(fd)
		return err
	})
	if err != nil {
		return fmt.Errorf("number of the pod's namespace: %w", err)
	}
	a := h.Attrs()
	if h.Type() != "veth" || a.ParentIndex != p.Index || a.NetNsID != id {
		return fmt.Errorf("host's end of %s is not in the agent's namespace: interface %d there is %s (is the agent on the host's network?)", p.Device, a.Index, a.Name)
	}
	p.Host = a.Index
	if a.MasterIndex != 0 && p.Direct && !p.HandOver {
		// A neighbour on a bridge can take over a pod's link address, and would be sent what is not encrypted.
		p.Direct = false
		r.log.Info("no direct path for a pod behind a bridge", zap.String("pod", p.UID), zap.String("interface", a.Name))
	}
	return nil
}

func withAddress(h *netlink.Handle, want ...netip.Addr) (netlink.Link, error) {
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the pod's interfaces: %w", err)
	}
	found := 0
	for _, a := range want {
		if !a.IsValid() {
			continue
		}
		index := 0
		for _, l := range links {
			addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return nil, fmt.Errorf("addresses of %s: %w", l.Attrs().Name, err)
			}
			for _, got := range addrs {
				if ip, ok := netip.AddrFromSlice(got.IP); ok && ip.Unmap() == a {
					index = l.Attrs().Index
				}
			}
		}
		if index == 0 {
			return nil, fmt.Errorf("no interface in the pod has address %v (is the namespace the right one?)", a)
		}
		if found != 0 && found != index {
			return nil, errors.New("the pod's addresses are on different interfaces, which is not supported")
		}
		found = index
	}
	for _, l := range links {
		if l.Attrs().Index == found {
			return l, nil
		}
	}
	return nil, errors.New("no interface") // unreachable: found came from links
}

// handle opens rtnetlink inside the namespace.
func handle(ns *netns.NS) (h *netlink.Handle, err error) {
	err = ns.Do(func() (err error) {
		if h, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
			return fmt.Errorf("open rtnetlink: %w", err)
		}
		return nil
	})
	return h, err
}

// findNS looks for the namespace of a recorded pod; nil means that it is gone,
// or alive only in the hands of somebody whom /proc does not show.
func findNS(rec *record) *netns.NS {
	candidates := []string{rec.Path}
	for _, pattern := range []string{"/run/netns/*", "/var/run/netns/*", "/run/docker/netns/*", "/proc/[0-9]*/ns/net"} {
		m, _ := filepath.Glob(pattern)
		candidates = append(candidates, m...)
	}
	for _, path := range candidates {
		var st unix.Stat_t
		if path == "" || unix.Stat(path, &st) != nil || st.Ino != rec.Inode {
			continue
		}
		ns, err := netns.Open(path)
		if err != nil {
			continue
		}
		if ns.Cookie() == rec.Cookie {
			return ns
		}
		ns.Close()
	}
	return nil
}
