// Package fault decides what the Faults of a service do to one connection, without I/O, and counts it.
//
// The caller's ztunnel asks once for each connection. Of the service's faults the first counts that is meant for
// the caller and has not expired by this node's clock: an end that was written down comes also while no
// controller is there to take the fault away. Each kind of harm is rolled for itself.
package fault

import (
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// Plan is what is done to one connection. The zero value does nothing.
type Plan struct {
	Fault     *model.ConnFault // that did it; nil: none
	Delay     time.Duration    // before the destination is dialled
	Refuse    bool             // after the delay
	Reset     bool             // once ResetAfter bytes have passed
	Bandwidth uint64           // bytes/s in each direction; 0: no limit
}

// Choose rolls the dice for a connection of caller. roll returns a number in [0,1).
func Choose(faults []model.ConnFault, caller identity.Identity, now time.Time, roll func() float64) Plan {
	for i := range faults {
		f := &faults[i]
		if !f.Concerns(caller, now) {
			continue
		}
		hit := func(percent float64) bool { return percent > 0 && roll()*100 < percent }
		var p Plan
		if hit(f.DelayPercent) {
			p.Delay = f.Delay
		}
		p.Refuse, p.Reset = hit(f.RefusePercent), hit(f.ResetPercent)
		if hit(f.BandwidthPercent) {
			p.Bandwidth = f.Bandwidth
		}
		if p != (Plan{}) {
			p.Fault = f
		}
		return p
	}
	return Plan{}
}

// Acts reports that there is anything to do.
func (p Plan) Acts() bool { return p.Fault != nil }

// Slow reports that the connection's bytes do not pass freely.
func (p Plan) Slow() bool { return p.Reset || p.Bandwidth > 0 }

// String is what the access log says: the fault's name and what it did.
func (p Plan) String() string {
	if !p.Acts() {
		return ""
	}
	s := p.Fault.Name
	for _, k := range p.Kinds() {
		s += " " + k
	}
	return s
}

// Kinds of harm: delay, refuse, reset, bandwidth. What a refusal leaves no time for is not among them.
func (p Plan) Kinds() []string {
	var out []string
	if p.Delay > 0 {
		out = append(out, "delay")
	}
	if p.Refuse {
		return append(out, "refuse")
	}
	if p.Reset {
		out = append(out, "reset")
	}
	if p.Bandwidth > 0 {
		out = append(out, "bandwidth")
	}
	return out
}
