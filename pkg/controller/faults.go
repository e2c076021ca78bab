package controller

import (
	"fmt"
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
		if expired(f, c.cfg.Now) {
			at := f.Spec.Expires.UTC().Format(time.RFC3339)
			st.set(conditionAccepted, true, "Accepted", "the fault is understood")
			st.set(conditionEnforced, false, reasonExpired, "it expired at %s", at)
			st.warn("spec.expires", "the fault expired at "+at+" and does nothing", "delete it, or give it a later time")
			continue
		}
		rules := faultRules(f.Namespace, f.Spec.Rules)
		for i, t := range f.Spec.TargetRefs {
			path := fmt.Sprintf("spec.targetRefs[%d]", i)
			if t.Kind != "Service" || t.Group != "" && t.Group != "core" {
				st.set(conditionAccepted, false, "InvalidKind", "%s %s is no target: name a Service", t.Kind, t.Name)
				st.fail(path, t.Kind+" is no target", "name a Service")
				continue
			}
			info := c.services[f.Namespace+"/"+t.Name]
			if info == nil {
				st.set(conditionAccepted, false, "TargetNotFound", "there is no Service %s/%s", f.Namespace, t.Name)
				st.fail(path, "there is no Service "+f.Namespace+"/"+t.Name, "make the Service, or correct the name")
				continue
			}
			if connections {
				faultConnections(f, info.model)
				st.set(conditionEnforced, true, "Enforced", "for connections to Service %s by their callers' ztunnels", t.Name)
			}
			if !requests {
				continue
			}
			if !info.served() {
				why := "Service " + f.Namespace + "/" + t.Name + " has no waypoint that could do this: " + info.unserved()
				st.set(conditionEnforced, false, reasonNoWaypoint, "%s", why)
				st.warn(path, why, fmt.Sprintf("make a Gateway of class %s and label the Service or its namespace %s: <gateway>", api.WaypointClass, api.LabelUseWaypoint))
				continue
			}
			out := &model.Fault{Namespace: f.Namespace, Name: f.Name, Service: info.model.Key(), Rules: rules}
			c.snap.Faults[out.Key()+"@"+out.Service] = out
			st.set(conditionEnforced, true, "Enforced", "for Service %s by waypoint %s", t.Name, info.use.waypoint.Key())
		}
		st.set(conditionAccepted, true, "Accepted", "the fault is understood")
	}
}

// reasonExpired is of a fault that has ended by itself.
const reasonExpired = "Expired"

func expired(f *api.Fault, now time.Time) bool {
	return f.Spec.Expires != nil && !now.IsZero() && !now.Before(f.Spec.Expires.Time)
}

// NextExpiry is when the next of the faults ends by itself: the objects then mean something else, and are to be
// compiled anew. Zero: never.
func NextExpiry(objs *source.Objects, now time.Time) time.Time {
	var next time.Time
	for _, o := range objs.Faults {
		if e := o.Value.Spec.Expires; e != nil && now.Before(e.Time) && (next.IsZero() || e.Time.Before(next)) {
			next = e.Time
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
