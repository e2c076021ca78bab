package controller

import (
	"cmp"
	"maps"
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// compileTelemetry compiles those with targets first: a waypoint's own goes before its namespace's, and that before
// the mesh's.
func (c *compiler) compileTelemetry() {
	all := oldestFirst(c.objs.Telemetries)
	samples := newSampling()
	defer samples.finish(c.services)
	for _, o := range all {
		if len(o.Value.Spec.TargetRefs) == 0 {
			continue
		}
		p := policyObject{Policy: o.Value, kind: "Telemetry", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		compiled := c.telemetry(p, &o.Value.Spec)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, gateway: true}) {
			samples.attach(t.Target, compiled)
			switch {
			case compiled.Samples() && t.info != nil && t.waypoint == nil:
				sampledOnly(c.status(p.kind, p, p.at), t.path, t.String(), compiled, t.info.unserved())
			case c.byWaypoint(p, t) && compiled != nil:
				c.put(p, t, model.Attachment{Telemetry: compiled})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
	for _, mesh := range []bool{false, true} {
		for _, o := range all {
			if len(o.Value.Spec.TargetRefs) == 0 && mesh == (o.Value.Namespace == api.SystemNamespace) {
				c.wideTelemetry(o, samples)
			}
		}
	}
}

// wideTelemetry attaches a Telemetry without targets to the waypoints of its namespace, or of the mesh, as far as they
// have none narrower, or older.
func (c *compiler) wideTelemetry(o source.Object[api.Telemetry], samples sampling) {
	p := policyObject{Policy: o.Value, kind: "Telemetry", at: o.Origin}
	st := c.status(p.kind, p, p.at)
	compiled := c.telemetry(p, &o.Value.Spec)
	samples.spread(o.Value.Namespace, compiled)
	n := 0
	for _, key := range slices.Sorted(maps.Keys(c.snap.Waypoints)) {
		w := c.snap.Waypoints[key]
		if compiled == nil || w.Namespace != o.Value.Namespace && o.Value.Namespace != api.SystemNamespace {
			continue
		}
		if rest := c.unclaimed(*compiled, key); rest.AccessLog != nil || rest.Tracing != nil || rest.Metrics != nil {
			n++
			c.put(p, attached{Target: model.Target{Waypoint: key}, waypoint: w}, model.Attachment{Telemetry: &rest})
		}
	}
	switch {
	case n == 0 && compiled.Samples():
		sampledOnly(st, "spec", wideText(o.Value.Namespace), compiled, "there is no waypoint without a narrower or older Telemetry")
	case n == 0:
		st.set(conditionEnforced, false, reasonNoWaypoint, "there is no waypoint without a narrower or older Telemetry")
	default:
		st.set(conditionEnforced, true, "Enforced", "at %d waypoints", n)
	}
	st.set(conditionAccepted, true, "Accepted", "the policy is understood")
}

// wideText is what a Telemetry without targets is for.
func wideText(namespace string) string {
	if namespace == api.SystemNamespace {
		return "all Services"
	}
	return "Services of namespace " + namespace
}

// unclaimed is what of a Telemetry a waypoint as a whole has from no other yet.
func (c *compiler) unclaimed(t model.Telemetry, waypoint string) model.Telemetry {
	for _, a := range c.snap.Attachments {
		if a.Telemetry == nil || a.Target.Waypoint != waypoint {
			continue
		}
		if a.Telemetry.AccessLog != nil {
			t.AccessLog = nil
		}
		if a.Telemetry.Tracing != nil {
			t.Tracing = nil
		}
		if a.Telemetry.Metrics != nil {
			t.Metrics = nil
		}
	}
	return t
}

// telemetry is nil where a collector cannot be called: what is wrong is in the status.
func (c *compiler) telemetry(p policyObject, spec *api.TelemetrySpec) *model.Telemetry {
	out := &model.Telemetry{}
	fine := true
	collector := func(path string, ref *api.ServiceRef) *model.ServicePort {
		if ref == nil {
			return nil
		}
		port, ok := c.meshService(p, path, *ref)
		fine = fine && ok
		return &port
	}
	if l := spec.AccessLog; l != nil {
		out.AccessLog = &model.AccessLog{Disabled: l.Disabled, Text: l.Text, Percentage: 100, OTLP: collector("spec.accessLog.otlp", l.OTLP)}
		out.AccessLog.Fields = plainTexts(l.Fields)
		if m := l.Match; m != nil {
			out.AccessLog.MinStatus, out.AccessLog.Headers = m.MinStatus, plainTexts(m.Headers)
			if m.MinDuration != nil {
				out.AccessLog.MinDuration = m.MinDuration.Duration
			}
			if m.Percentage != nil {
				out.AccessLog.Percentage = *m.Percentage
			}
		}
	}
	if t := spec.Tracing; t != nil {
		out.Tracing = &model.Tracing{Percentage: 1, Collector: collector("spec.tracing.collector", t.Collector)}
		if t.Percentage != nil {
			out.Tracing.Percentage = *t.Percentage
		}
		out.Tracing.Connections = cmp.Or(t.ConnectionPercentage, t.Percentage)
		for _, tag := range t.Tags {
			out.Tracing.Tags = append(out.Tracing.Tags, model.SpanTag(tag))
		}
	}
	if m := spec.Metrics; m != nil {
		out.Metrics = requestMetrics(m)
	}
	if !fine {
		c.status(p.kind, p, p.at).set(conditionEnforced, false, "Invalid", "its collector cannot be called")
		return nil
	}
	return out
}

func requestMetrics(m *api.RequestMetrics) *model.Metrics {
	out := &model.Metrics{Disabled: m.Disabled, MaxValues: 100}
	if m.MaxValues != nil {
		out.MaxValues = *m.MaxValues
	}
	for _, l := range m.Labels {
		out.Labels = append(out.Labels, model.MetricLabel(l))
	}
	for _, l := range m.Drop {
		out.Drop = append(out.Drop, string(l))
	}
	return out
}

func plainTexts[V ~string](in map[string]V) map[string]string {
	if in == nil {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = string(v)
	}
	return out
}
