package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Marks and tables of the policy routes. Marks only route: they can be forged
// and prove nothing.
const (
	MarkZtunnel     = 0x539 // ztunnel's own connections, leaving the pod
	MarkApplication = 0x53a // ztunnel to the application, over lo
	MarkInbound     = 0x53b // what came in by eth0

	markBit          = 0x100 // in every mark of ours
	tableCapture     = 178
	tableApplication = 177
	prefCapture      = 90
	prefApplication  = 91
)

// families calls fn for each address family that the pod has.
func (p *pod) families(fn func(family int, own netip.Addr) error) error {
	var errs []error
	if p.IP4.IsValid() {
		errs = append(errs, fn(unix.AF_INET, p.IP4))
	}
	if p.IP6.IsValid() {
		errs = append(errs, fn(unix.AF_INET6, p.IP6))
	}
	return errors.Join(errs...)
}

// rules of one family: what bears none of our marks is captured, what goes to
// the application with a borrowed address finds its way back.
func (p *pod) rules(family int) []*netlink.Rule {
	mask := uint32(markBit)
	tcp := netlink.NewRule()
	tcp.Family, tcp.Priority, tcp.Table = family, prefCapture, tableCapture
	tcp.Mark, tcp.Mask, tcp.IifName, tcp.IPProto = 0, &mask, "lo", unix.IPPROTO_TCP
	app := netlink.NewRule()
	app.Family, app.Priority, app.Table, app.Mark = family, prefApplication, tableApplication, MarkApplication
	out := []*netlink.Rule{tcp, app}
	if !p.NoDNS {
		dns := *tcp
		dns.IPProto, dns.Dport = unix.IPPROTO_UDP, netlink.NewRulePortRange(53, 53)
		out = append(out, &dns)
	}
	return out
}

// routes of one family: in both tables every address is local.
func routes(family int, own netip.Addr) []*netlink.Route {
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	if family == unix.AF_INET6 {
		all = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	local := func(table int, src net.IP) *netlink.Route {
		return &netlink.Route{Family: family, Table: table, Type: unix.RTN_LOCAL,
			Scope: unix.RT_SCOPE_HOST, LinkIndex: 1, Dst: all, Src: src}
	}
	return []*netlink.Route{local(tableCapture, own.AsSlice()), local(tableApplication, nil)}
}

// addRoutes installs the tables, then the rules that lead into them.
func (p *pod) addRoutes() error {
	h, err := handle(p.ns)
	if err != nil {
		return err
	}
	defer h.Close()
	return p.families(func(family int, own netip.Addr) error {
		for _, rt := range routes(family, own) {
			if err := replaceRoute(h, rt); err != nil {
				return fmt.Errorf("route of table %d for %v: %w", rt.Table, own, err)
			}
		}
		for _, rule := range p.rules(family) {
			if err := h.RuleAdd(rule); err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("rule %d for %v: %w (kernel without IP_MULTIPLE_TABLES?)", rule.Priority, own, err)
			}
		}
		return nil
	})
}

// replaceRoute waits for an IPv6 address that is still being checked for
// duplicates: until then the kernel takes it for no address at all.
func replaceRoute(h *netlink.Handle, rt *netlink.Route) error {
	deadline := time.Now().Add(3 * time.Second)
	for {
		err := h.RouteReplace(rt)
		if err == nil || rt.Family != unix.AF_INET6 || !errors.Is(err, unix.EINVAL) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (p *pod) delRoutes() error {
	h, err := handle(p.ns)
	if err != nil {
		return err
	}
	defer h.Close()
	return p.families(func(family int, own netip.Addr) error {
		var errs []error
		for _, rule := range p.rules(family) {
			if err := h.RuleDel(rule); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("remove rule %d for %v: %w", rule.Priority, own, err))
			}
		}
		for _, rt := range routes(family, own) {
			if err := h.RouteDel(rt); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("remove route of table %d for %v: %w", rt.Table, own, err))
			}
		}
		return errors.Join(errs...)
	})
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EAFNOSUPPORT)
}
