package cli

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// sayCarriage tells how the caller's ztunnel carries connections to the service, where a TrafficPolicy says so.
func (x *explainer) sayCarriage(h *hop) {
	s := x.target.service
	if s == nil || x.src.Protocol != model.HBONE || s.Waypoint != nil {
		return
	}
	if c := s.Carried(x.target.port); c != nil {
		h.say("a TrafficPolicy says how it connects: %s", carriageText(c))
	}
}

func carriageText(c *model.Carriage) string {
	out := []string{balanceText(c.Balance)}
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(c.Connections() > 0, "at most %d connections of a node", c.Connections())
	add(c.PerEndpoint() > 0, "at most %d of a node to an endpoint", c.PerEndpoint())
	if o := c.Outliers; o != nil {
		add(true, "an endpoint is ejected for %v after %d failures", o.BaseEjection, o.ConnectFailures)
	}
	add(c.Connect > 0, "%v to connect", c.Connect)
	add(c.Idle > 0, "cut after %v idle", c.Idle)
	if k := c.Keepalive; k != nil {
		add(true, "keepalive after %v", k.Time)
	}
	return strings.Join(out, ", ")
}

func balanceText(b *model.Balance) string {
	how := "fewest connections of two"
	switch {
	case b == nil:
		return how
	case b.Hash != nil && b.Hash.Identity:
		return "by the caller's identity"
	case b.Hash != nil:
		return "by the caller's address"
	case b.Algorithm == model.RoundRobin:
		how = "endpoints in turn"
	case b.Algorithm == model.RandomEndpoint:
		how = "endpoints at random"
	}
	if b.SlowStart != nil {
		how += fmt.Sprintf(", new ones slowly over %v", b.SlowStart.Window)
	}
	return how
}
