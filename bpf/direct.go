package bpf

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weftmesh/weft/pkg/direct"
)

// The direct path of pods on one node (src/direct.h): who has which address is the agent's to say, and its word is
// believed by all guards of the node, so an address has to be taken away before somebody else gets it.

// DirectMaps are what a ztunnel needs to open ways between pods, by name; see direct.Hand. They stay the Redirector's.
func (r *Redirector) DirectMaps() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{direct.MapAllow: r.node.Allow, direct.MapIdents: r.node.Idents,
		direct.MapServices: r.node.Services, direct.MapLease: r.node.Lease, direct.MapEvents: r.node.Events}
}

func (p *pod) addresses() (out []netip.Addr) {
	for _, a := range []netip.Addr{p.IP4, p.IP6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// identify says that the pod has its addresses.
func (r *Redirector) identify(p *pod) error {
	if !p.Direct {
		return nil
	}
	id := direct.Ident{NS: p.Cookie}
	if p.HandOver {
		id.Ifindex = uint32(p.Host)
	}
	for _, a := range p.addresses() {
		if err := r.node.Idents.Put(a.As16(), id); err != nil {
			return fmt.Errorf("publish address %v for the direct path: %w", a, err)
		}
	}
	return nil
}

// unidentify takes the pod's addresses from whoever had them before, and from itself where it is not to talk
// directly (any more).
func (r *Redirector) unidentify(p *pod) error {
	for _, a := range p.addresses() {
		if p.Direct && r.identOf(a) == p.Cookie {
			continue // as it is: connections live on
		}
		if err := ignoreMissing(r.node.Idents.Delete(a.As16())); err != nil {
			return fmt.Errorf("take address %v off the direct path: %w", a, err)
		}
	}
	return nil
}

// forgetIdent takes the pod off the direct path; an address that is another's by now stays that one's.
func (r *Redirector) forgetIdent(p *pod) error {
	var errs []error
	for _, a := range p.addresses() {
		if r.identOf(a) == p.Cookie {
			errs = append(errs, ignoreMissing(r.node.Idents.Delete(a.As16())))
		}
	}
	return errors.Join(errs...)
}

func (r *Redirector) identOf(a netip.Addr) (cookie uint64) {
	var id direct.Ident
	if r.node.Idents == nil || r.node.Idents.Lookup(a.As16(), &id) != nil {
		return 0
	}
	return id.NS
}

// Forget takes addresses off the direct path, whoever has them. Package direct does so without a Redirector.
func (r *Redirector) Forget(addresses []netip.Addr) error { return direct.Forget(r.o.Root, addresses) }
