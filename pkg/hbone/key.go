package hbone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Key names the connections that streams may share: the same certificate shown, the same peers accepted,
// the same source address, the same far end.
type Key struct {
	// Source is the SPIFFE URI of the certificate that is shown.
	Source string
	// SANs are the SPIFFE URIs of which the peer must be one. None accepts nobody.
	SANs SANSet
	// SourceIP the connection comes from; informative unless Dial uses it.
	SourceIP netip.Addr
	// Dest is the tunnel's far end.
	Dest netip.AddrPort
}

func (k Key) String() string {
	return fmt.Sprintf("%s as %s", k.Dest, k.Source)
}

// SANSet is a set of SPIFFE URIs that can be compared by ==.
type SANSet struct{ joined string }

// MakeSANSet makes a set.
func MakeSANSet(uris ...string) SANSet {
	uris = slices.Clone(uris)
	slices.Sort(uris)
	return SANSet{strings.Join(slices.Compact(uris), "\n")}
}

// List returns the set's members, sorted.
func (s SANSet) List() []string {
	if s.joined == "" {
		return nil
	}
	return strings.Split(s.joined, "\n")
}

// Has tells whether uri is in the set. It does not allocate for the usual set of one.
func (s SANSet) Has(uri string) bool {
	return uri != "" && (s.joined == uri || slices.Contains(s.List(), uri))
}
