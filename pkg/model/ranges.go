package model

import "net/netip"

// Range is a block of addresses that the cluster gives to its pods or Services. An address in it of which nothing is
// known belongs to somebody who has just come or just gone, and never to the world outside.
type Range struct {
	Prefix netip.Prefix
	// Services says that it is theirs; else it is that of a node's pods.
	Services bool
}

// Key names the range, as 10.1.2.0/24 does.
func (r *Range) Key() string { return r.Prefix.String() }

// String says whose the range is.
func (r *Range) String() string {
	if r.Services {
		return "the range of Services " + r.Key()
	}
	return "the range of pods " + r.Key()
}

// Holds reports whether the range gives an address to a pod or Service. The first address of a node's block does
// not count: by custom it is the node's own on the pods' bridge, which is known to nobody and may be called.
func (r *Range) Holds(a netip.Addr) bool {
	a = a.Unmap()
	return r.Prefix.Contains(a) && (r.Services || a != r.Prefix.Addr().Next())
}
