package bpf

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func (l *lab) total(c Counter) uint64 {
	l.t.Helper()
	cs, err := l.r.Counters()
	must(l.t, err)
	return cs.Total[c]
}

// snapshot describes all that an enrolment touches.
func snapshot(t *testing.T, l *lab, p *labPod) string {
	t.Helper()
	var b strings.Builder
	inside(t, p.ns, func() error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			rules, err := netlink.RuleList(family)
			if err != nil {
				return err
			}
			for _, r := range rules {
				fmt.Fprintln(&b, "rule", r.Priority, r.Mark, r.IifName, r.IPProto, r.Table)
			}
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				fmt.Fprintln(&b, "route", r)
			}
		}
		for _, name := range []string{"ipv4/tcp_fwmark_accept", "ipv4/fwmark_reflect", "ipv6/fwmark_reflect", "ipv4/conf/all/rp_filter", "ipv4/conf/eth0/rp_filter", "ipv4/ip_local_reserved_ports"} {
			v, err := readSysctl(name)
			if err != nil {
				return err
			}
			fmt.Fprintln(&b, name, v)
		}
		return programsOn(&b, "eth0")
	})
	must(t, p.ns.WithFd(func(fd int) error {
		r, err := link.QueryPrograms(link.QueryOptions{Target: fd, Attach: ebpf.AttachSkLookup})
		if err == nil {
			fmt.Fprintln(&b, "sk_lookup", len(r.Programs))
		}
		return err
	}))
	inside(t, l.node, func() error { return programsOn(&b, "h"+p.name) })
	return b.String()
}

func programsOn(b *strings.Builder, device string) error {
	d, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
		r, err := link.QueryPrograms(link.QueryOptions{Target: d.Attrs().Index, Attach: at})
		if err != nil {
			return err
		}
		fmt.Fprintln(b, device, at, len(r.Programs))
	}
	return nil
}

func listPins(t *testing.T, root string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != root && !d.IsDir() {
			names = append(names, path)
		}
		return nil
	})
	must(t, err)
	return strings.Join(names, "\n")
}
