package controller

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

func (c *compiler) compileFaults() {
	for _, o := range oldestFirst(c.objs.Faults) {
		f := o.Value
		requests, connections := faultTargets(f)
		st := c.status("Fault", f, o.Origin)
		if f.Spec.TTL != "" && f.CreationTimestamp.IsZero() {
			st.set(conditionAccepted, false, "NoCreationTime", "it says ttl and has no metadata.creationTimestamp, so nobody knows its end")
			st.fail("spec.ttl", "nobody knows the fault's end, for it has no metadata.creationTimestamp: it is not in force", "in a folder of files write expires, or the time of creation")
			continue
		}
		if expired(f, c.cfg.Now) {
			at := f.End().UTC().Format(time.RFC3339)
			st.set(conditionAccepted, true, "Accepted", "the fault is understood")
			st.set(conditionEnforced, false, reasonExpired, "it expired at %s", at)
			st.warn("spec.expires", "the fault expired at "+at+" and does nothing", "delete it, or give it a later time")
			continue
		}
		if f.End().IsZero() {
			st.warn("spec", "the fault has no end: it stays in force until somebody deletes it", "give it ttl or expires")
		}
		p := policyObject{Policy: f, kind: "Fault", at: o.Origin, refs: f.Spec.TargetRefs}
		rules := faultRules(f.Namespace, f.Spec.Rules)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true, shared: true}) {
			if connections && t.Service != "" && t.Port == 0 {
				faultConnections(f, t.info.model)
				st.set(conditionEnforced, true, "Enforced", "for connections to %s by their callers' ztunnels", t.String())
			}
			if requests && c.byWaypoint(p, t) {
				out := &model.Fault{Namespace: f.Namespace, Name: f.Name, Target: t.Target, Rules: rules}
				c.snap.Faults[out.Key()+"@"+out.Target.String()] = out
			}
		}
		st.set(conditionAccepted, true, "Accepted", "the fault is understood")
	}
}

// reasonExpired is of a fault that has ended by itself.
const reasonExpired = "Expired"

func expired(f *api.Fault, now time.Time) bool {
	end := f.End()
	return !end.IsZero() && !now.IsZero() && !now.Before(end)
}

// NextExpiry is when the next of the faults ends by itself: the objects then mean something else, and are to be
// compiled anew. Zero: never.
func NextExpiry(objs *source.Objects, now time.Time) time.Time {
	var next time.Time
	for _, o := range objs.Faults {
		if end := o.Value.End(); !end.IsZero() && now.Before(end) && (next.IsZero() || end.Before(next)) {
			next = end
		}
	}
	return next
}

func faultRules(namespace string, in []api.FaultRule) []model.FaultRule {
	var out []model.FaultRule
	for _, r := range in {
		if r.Connection != nil {
			continue
		}
		rule := model.FaultRule{From: faultCallers(namespace, r.From)}
		for _, m := range r.Matches {
			rule.Matches = append(rule.Matches, faultMatch(m))
		}
		if r.Abort != nil {
			rule.AbortPercent, rule.AbortStatus, rule.AbortGRPC = r.Abort.Percentage, r.Abort.HTTPStatus, r.Abort.GRPCStatus
			if rule.AbortStatus == 0 && rule.AbortGRPC == nil {
				rule.AbortStatus = 503
			}
		}
		if r.Delay != nil {
			rule.DelayPercent, rule.Delay = r.Delay.Percentage, r.Delay.Duration.Duration
			if d := r.Delay.Distribution; d != nil {
				rule.Spread = &model.Spread{Kind: d.Kind, Deviation: d.Deviation.Value(), Max: d.Max.Value()}
			}
		}
		if b := r.Bandwidth; b != nil {
			rule.BandwidthPercent, rule.Bandwidth = 100, b.Limit.Value()
			if b.Percentage != nil {
				rule.BandwidthPercent = *b.Percentage
			}
		}
		out = append(out, rule)
	}
	return out
}

func faultMatch(m api.RequestMatch) model.RouteMatch {
	out := model.RouteMatch{Method: m.Method}
	if m.Path != "" {
		out.PathKind, out.Path = model.PathExact, m.Path
		if prefix, ok := strings.CutSuffix(m.Path, "*"); ok {
			out.PathKind, out.Path = model.PathPrefix, "/"+strings.Trim(prefix, "/")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.Headers)) {
		out.Headers = append(out.Headers, model.NameMatch{Name: k, Value: m.Headers[k]})
	}
	return out
}
