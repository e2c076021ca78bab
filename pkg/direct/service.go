package direct

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// MostEndpoints is how many endpoints of a service on one node can be drawn directly.
const MostEndpoints = 16

// VIP is a service's address and port as one pod calls it. As struct vip in bpf/src/direct.h.
type VIP struct {
	From     uint64 // cookie of the caller's network namespace
	IP       [16]byte
	Port     uint32
	Reserved uint32
}

// VIPOf makes the key of a service that a pod dials.
func VIPOf(from uint64, dialled netip.AddrPort) VIP {
	return VIP{From: from, IP: dialled.Addr().As16(), Port: uint32(dialled.Port())}
}

// Dialled is the address that is dialled.
func (v VIP) Dialled() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(v.IP).Unmap(), uint16(v.Port))
}

// endpoint is struct endpoint.
type endpoint struct {
	IP   [16]byte
	Port uint32
}

// draw is struct draw.
type draw struct {
	Of, Direct uint32
	Here       [MostEndpoints]endpoint
}

// Publish has the kernel draw one of `of` endpoints for each connection to a service: each of those that are here, to
// which the way has to be permitted, and for the rest the proxy. It may be ErrFull.
func (m *Maps) Publish(v VIP, of int, here []netip.AddrPort) error {
	if len(here) > MostEndpoints || len(here) > of {
		return fmt.Errorf("%d endpoints of %d are more than can be drawn from", len(here), of)
	}
	d := draw{Of: uint32(of), Direct: uint32(len(here))}
	for i, e := range here {
		d.Here[i] = endpoint{IP: e.Addr().As16(), Port: uint32(e.Port())}
	}
	err := m.services.Put(v, d)
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOMEM) {
		return ErrFull
	}
	if err != nil {
		return fmt.Errorf("publish a service for the direct path: %w", err)
	}
	return nil
}

// Unpublish has the proxy choose again.
func (m *Maps) Unpublish(v VIP) error {
	if err := m.services.Delete(v); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("take a service off the direct path: %w", err)
	}
	return nil
}

// Published lists the services.
func (m *Maps) Published() (out []VIP, err error) {
	var v VIP
	var d draw
	it := m.services.Iterate()
	for it.Next(&v, &d) {
		out = append(out, v)
	}
	return out, it.Err()
}
