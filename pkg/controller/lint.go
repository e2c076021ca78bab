package controller

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// lintLabels looks at our labels on namespaces and pods: a value that means nothing, a waypoint that is
// not there.
func (c *compiler) lintLabels() {
	check := func(kind string, o metav1.Object, at source.Origin) {
		path := func(label string) string { return `metadata.labels["` + label + `"]` }
		if mode, ok := o.GetLabels()[api.LabelMode]; ok && mode != api.ModeAmbient && mode != api.ModeNone {
			c.status(kind, o, at).fail(path(api.LabelMode), fmt.Sprintf("unknown value %q: it enrols nothing", mode), "write ambient or none")
		}
		ns := o.GetNamespace()
		if kind == "Namespace" {
			ns = o.GetName()
		}
		if u := c.waypointUse(o.GetLabels(), ns, "service"); u != nil && u.waypoint == nil && o.GetLabels()[api.LabelUseWaypoint] != "" && u.reason != "WaypointForOthers" {
			c.status(kind, o, at).fail(path(api.LabelUseWaypoint), u.message+": calls are refused", "make the Gateway, or correct the label")
		}
	}
	for _, n := range c.objs.Namespaces {
		check("Namespace", n.Value, n.Origin)
	}
	for _, p := range c.objs.Pods {
		if p.Origin.File != "" && p.Value.Labels[api.LabelGatewayName] == "" {
			check("Pod", p.Value, p.Origin)
		}
	}
}

// lintRoutes finds rules that no request can reach because an earlier one takes everything they would.
func (c *compiler) lintRoutes() {
	for _, o := range c.objs.HTTPRoutes {
		c.lintRoute("HTTPRoute", o.Value, o.Origin)
	}
	for _, o := range c.objs.GRPCRoutes {
		c.lintRoute("GRPCRoute", o.Value, o.Origin)
	}
}

func (c *compiler) lintRoute(kind string, o metav1.Object, at source.Origin) {
	var route *model.Route
	for _, r := range c.snap.Routes {
		if r.Kind == kind && r.Namespace == o.GetNamespace() && r.Name == o.GetName() && (route == nil || r.Service < route.Service) {
			route = r
		}
	}
	if route == nil {
		return
	}
	if c.forSomeAlone(route) {
		c.status(kind, o, at).warn("spec.rules", "every rule is for some callers alone: the requests of all others are answered 404", "write a rule without callers, unless nobody else is to be served")
	}
	for i, rule := range route.Rules {
		for j, m := range matchesOf(rule) {
			if k := slices.IndexFunc(route.Rules[:i], func(earlier model.RouteRule) bool {
				return reflect.DeepEqual(earlier.Callers(), rule.Callers()) &&
					slices.ContainsFunc(matchesOf(earlier), func(e model.RouteMatch) bool { return sameMatch(e, m) })
			}); k >= 0 {
				c.status(kind, o, at).warn(fmt.Sprintf("spec.rules[%d].matches[%d]", i, j),
					fmt.Sprintf("never used: rule %d has the same match and comes first", k), "remove one of the two, or join their backends by weight")
			}
		}
	}
}

// forSomeAlone reports whether all rules for a service, of this route and others of its namespace, are for callers.
func (c *compiler) forSomeAlone(route *model.Route) bool {
	if route.L4() || len(route.Rules) == 0 {
		return false
	}
	for _, info := range c.services {
		if info.model != nil && info.model.Key() == route.Service && info.waypoint() == nil {
			return false // nothing is routed
		}
	}
	for _, r := range c.snap.Routes {
		if r.L4() || r.Service != route.Service || r.Namespace != route.Namespace || r.Port != route.Port && r.Port != 0 {
			continue
		}
		if slices.ContainsFunc(r.Rules, func(rule model.RouteRule) bool { return len(rule.Callers()) == 0 }) {
			return false
		}
	}
	return true
}

func matchesOf(r model.RouteRule) []model.RouteMatch {
	if len(r.Matches) == 0 {
		return []model.RouteMatch{{PathKind: model.PathPrefix, Path: "/"}}
	}
	return r.Matches
}

// sameMatch compares two matches of one rank: of those, the first wins.
func sameMatch(a, b model.RouteMatch) bool {
	norm := func(m model.RouteMatch) model.RouteMatch {
		byName := func(x, y model.NameMatch) int { return strings.Compare(x.Name, y.Name) }
		m.Headers, m.Query = slices.Clone(m.Headers), slices.Clone(m.Query)
		for i := range m.Headers {
			m.Headers[i].Name = strings.ToLower(m.Headers[i].Name)
		}
		slices.SortStableFunc(m.Headers, byName)
		slices.SortStableFunc(m.Query, byName)
		if m.PathKind == model.PathPrefix && m.Path != "/" {
			m.Path = strings.TrimSuffix(m.Path, "/")
		}
		return m
	}
	return reflect.DeepEqual(norm(a), norm(b))
}
