package controller

import (
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
)

// mostSeries of its own labels is what a waypoint counts by; beyond it everything is one.
const mostSeries = 20_000

// lintTelemetry finds Telemetries that are in force nowhere, and labels that could be of more values than are counted.
func (c *compiler) lintTelemetry() {
	for _, o := range c.objs.Telemetries {
		t := o.Value
		st := c.status("Telemetry", t, o.Origin)
		if cond := st.Condition(conditionEnforced); len(t.Spec.TargetRefs) == 0 && cond != nil && cond.Reason == reasonNoWaypoint && !samples(t.Spec.Tracing) {
			st.warn("spec", "it is in force nowhere: "+cond.Message, "make a Gateway of class "+api.WaypointClass+", or remove it")
		}
		m := t.Spec.Metrics
		if m == nil || m.Disabled {
			continue
		}
		compiled := requestMetrics(m)
		sets, free := uint64(1), 0
		for _, l := range compiled.Labels {
			if l.Literal == "" && sets <= mostSeries {
				sets, free = sets*uint64(compiled.MaxValues), free+1
			}
		}
		if sets > mostSeries {
			st.warn("spec.metrics.labels", fmt.Sprintf("%d labels of up to %d values make %d sets and more, before callers and statuses; a waypoint counts %d, and the rest as overflow",
				free, compiled.MaxValues, sets, mostSeries), "write a lower maxValues, or fewer labels")
		}
	}
}

// lintLimits finds what of RateLimits has no effect.
func (c *compiler) lintLimits() {
	for _, o := range c.objs.RateLimits {
		if s := o.Value.Spec; s.Global != nil && s.MaxKeys != 0 {
			c.status("RateLimit", o.Value, o.Origin).warn("spec.maxKeys", "it does nothing beside global: the service remembers the keys", "leave it out")
		}
	}
}

// samples reports whether ztunnels do something of it, which takes no waypoint.
func samples(t *api.Tracing) bool {
	return t != nil && (t.Percentage != nil || t.ConnectionPercentage != nil)
}
