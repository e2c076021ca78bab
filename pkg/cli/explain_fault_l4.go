package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// sayConnFault tells which Fault the caller's ztunnel does to connections: of those that concern the caller the
// first that has not expired.
func (x *explainer) sayConnFault(h *hop) {
	s := x.target.service
	if s == nil || x.src.Protocol != model.HBONE {
		return
	}
	now := time.Now()
	for i := range s.Faults {
		if f := &s.Faults[i]; f.Concerns(x.src.Identity(), now) {
			h.say("Fault %s acts on its connections here: %s%s", f.Name, connFaultText(f), untilText(f.Until))
			switch {
			case f.RefusePercent >= 100:
				x.worsen(refused)
				x.advise("delete Fault %s, or let it expire, if this caller is to be let through", f.Name)
			case f.RefusePercent > 0 || f.ResetPercent > 0:
				x.worsen(depends)
			}
			return
		}
	}
}

func untilText(t time.Time) string {
	if t.IsZero() {
		return "; it has no end"
	}
	return "; until " + t.UTC().Format(time.RFC3339)
}

func connFaultText(f *model.ConnFault) string {
	var out []string
	add := func(percent float64, format string, args ...any) {
		if percent > 0 {
			out = append(out, fmt.Sprintf("%g%% ", percent)+fmt.Sprintf(format, args...))
		}
	}
	add(f.DelayPercent, "delayed by %s", f.Delay)
	add(f.RefusePercent, "refused")
	add(f.ResetPercent, "reset after %d bytes", f.ResetAfter)
	add(f.BandwidthPercent, "slowed to %d bytes/s each way", f.Bandwidth)
	if out == nil {
		return "no harm"
	}
	return strings.Join(out, ", ")
}
