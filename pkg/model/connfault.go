package model

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// ConnFault injects failures into connections at the ztunnel of their caller.
type ConnFault struct {
	Name  string        `json:"name"`           // namespace/name of the Fault
	From  []CallerMatch `json:"from,omitempty"` // any of these callers; none: all
	Until time.Time     `json:"until,omitzero"` // from then on it does nothing, told or not; zero: no end
	// Percentages are of connections, 0 to 100, each rolled for itself.
	DelayPercent     float64       `json:"delayPercent,omitempty"`
	Delay            time.Duration `json:"delay,omitempty"`
	RefusePercent    float64       `json:"refusePercent,omitempty"`
	ResetPercent     float64       `json:"resetPercent,omitempty"`
	ResetAfter       uint64        `json:"resetAfter,omitempty"` // bytes in both directions together
	BandwidthPercent float64       `json:"bandwidthPercent,omitempty"`
	Bandwidth        uint64        `json:"bandwidth,omitempty"` // bytes/s in each direction of a connection
}

// Concerns reports whether the fault is meant for a caller, now.
func (f *ConnFault) Concerns(caller identity.Identity, now time.Time) bool {
	if !f.Until.IsZero() && !now.Before(f.Until) {
		return false
	}
	return len(f.From) == 0 || slices.ContainsFunc(f.From, func(m CallerMatch) bool { return m.Is(caller) })
}

// CallerMatch is a conjunction of lists; an empty list holds.
type CallerMatch struct {
	Namespaces      []string              `json:"namespaces,omitempty"`
	ServiceAccounts []ServiceAccountMatch `json:"serviceAccounts,omitempty"`
}

// Is reports whether a caller is meant.
func (m *CallerMatch) Is(id identity.Identity) bool {
	return (len(m.Namespaces) == 0 || slices.Contains(m.Namespaces, id.Namespace)) &&
		(len(m.ServiceAccounts) == 0 || slices.Contains(m.ServiceAccounts, ServiceAccountMatch{id.Namespace, id.ServiceAccount}))
}
