package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// Reasons of Gateway API (GEP-713) that conditions of attached policies give.
const (
	reasonConflicted     = "Conflicted"
	reasonTargetNotFound = "TargetNotFound"
	reasonInvalidKind    = "InvalidKind"
)

// targetKinds says what a kind of policy may be attached to.
type targetKinds struct {
	service bool // a Service, or one of its ports by sectionName
	route   bool // an HTTPRoute or GRPCRoute, or one of its rules by sectionName
	gateway bool // a waypoint, for everything behind it
	shared  bool // several policies may have one target; else the oldest has it alone
}

// attached is one target of a policy that was found.
type attached struct {
	model.Target
	path string       // of the reference in the policy
	info *serviceInfo // the service; nil for a Gateway
	// waypoint that enforces it; nil where the service has none, or asks for one that is not there.
	waypoint *model.Waypoint
}

// policyObject is a policy with where it was written.
type policyObject struct {
	api.Policy
	kind string
	at   source.Origin
	refs []api.TargetRef
}

// oldestFirst orders policies as they are to be compiled: who came first wins.
func oldestFirst[T any, P interface {
	*T
	api.Policy
}](list []source.Object[T]) []source.Object[T] {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b source.Object[T]) int {
		x, y := P(a.Value), P(b.Value)
		return cmp.Or(x.GetCreationTimestamp().Compare(y.GetCreationTimestamp().Time),
			strings.Compare(x.GetNamespace()+"/"+x.GetName(), y.GetNamespace()+"/"+y.GetName()))
	})
	return out
}

// attachPolicy finds a policy's targets. What cannot be one, is not there, or belongs to an older policy of the kind
// is left out, and said in the status. Policies of a kind are to come in the order of oldestFirst.
func (c *compiler) attachPolicy(p policyObject, kinds targetKinds) []attached {
	st := c.status(p.kind, p, p.at)
	var out []attached
	for i, ref := range p.refs {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		for _, t := range c.resolve(st, p, path, ref, kinds) {
			if !kinds.shared && !c.claim(st, p, t) {
				continue
			}
			out = append(out, t)
		}
	}
	return out
}

func (c *compiler) resolve(st *Status, p policyObject, path string, ref api.TargetRef, kinds targetKinds) []attached {
	switch {
	case kinds.service && ref.Kind == "Service" && (ref.Group == "" || ref.Group == "core"):
		return c.resolveService(st, p, path, ref)
	case kinds.route && (ref.Kind == "HTTPRoute" || ref.Kind == "GRPCRoute") && ref.Group == gatewayv1.GroupName:
		return c.resolveRoute(st, p, path, ref)
	case kinds.gateway && ref.Kind == "Gateway" && ref.Group == gatewayv1.GroupName:
		return c.resolveGateway(st, p, path, ref)
	}
	st.set(conditionAccepted, false, reasonInvalidKind, "%s %s is no target: name %s", ref.Kind, ref.Name, kinds)
	st.fail(path, fmt.Sprintf("%s of group %q is no target", ref.Kind, ref.Group), "name "+kinds.String())
	return nil
}

// String lists what may be named.
func (k targetKinds) String() string {
	var out []string
	if k.service {
		out = append(out, "a Service")
	}
	if k.route {
		out = append(out, "an HTTPRoute or GRPCRoute (group "+gatewayv1.GroupName+")")
	}
	if k.gateway {
		out = append(out, "a waypoint's Gateway (group "+gatewayv1.GroupName+")")
	}
	return strings.Join(out, ", or ")
}

func (c *compiler) missing(st *Status, path, what string) []attached {
	st.set(conditionAccepted, false, reasonTargetNotFound, "there is no %s", what)
	st.fail(path, "there is no "+what, "make it, or correct the name")
	return nil
}

func (c *compiler) resolveService(st *Status, p policyObject, path string, ref api.TargetRef) []attached {
	name := p.GetNamespace() + "/" + ref.Name
	info := c.services[name]
	if info == nil {
		return c.missing(st, path, "Service "+name)
	}
	t := attached{Target: model.Target{Service: info.model.Key()}, path: path, info: info, waypoint: info.waypoint()}
	if ref.SectionName == "" {
		return []attached{t}
	}
	for _, port := range info.object.Spec.Ports {
		if port.Name == ref.SectionName {
			t.Port = uint16(port.Port)
			return []attached{t}
		}
	}
	return c.missing(st, path, fmt.Sprintf("port %q of Service %s", ref.SectionName, name))
}

// resolveRoute finds the services that the route is attached to.
func (c *compiler) resolveRoute(st *Status, p policyObject, path string, ref api.TargetRef) []attached {
	var out []attached
	found, rules := false, false
	for _, key := range slices.Sorted(maps.Keys(c.snap.Routes)) {
		r := c.snap.Routes[key]
		if r.Kind != ref.Kind || r.Namespace != p.GetNamespace() || r.Name != ref.Name {
			continue
		}
		found = true
		if ref.SectionName != "" && !slices.ContainsFunc(r.Rules, func(rule model.RouteRule) bool { return rule.Name == ref.SectionName }) {
			continue
		}
		rules = true
		t := attached{Target: model.Target{Route: r.Key(), Rule: ref.SectionName}, path: path}
		if len(out) == 0 { // the route's other parents are served by the same attachment
			if t.info = c.byKey(r.Service); t.info != nil {
				t.waypoint = t.info.waypoint()
			}
			out = append(out, t)
		}
	}
	what := ref.Kind + " " + p.GetNamespace() + "/" + ref.Name
	switch {
	case !found:
		return c.missing(st, path, what+" that is attached to a Service with a waypoint")
	case !rules:
		return c.missing(st, path, fmt.Sprintf("rule %q of %s", ref.SectionName, what))
	}
	return out
}

// byKey finds a service by the key of its model.
func (c *compiler) byKey(key string) *serviceInfo {
	if s := c.snap.Services[key]; s != nil {
		return c.services[s.Namespace+"/"+s.Name]
	}
	return nil
}

func (c *compiler) resolveGateway(st *Status, p policyObject, path string, ref api.TargetRef) []attached {
	key := p.GetNamespace() + "/" + ref.Name
	w := c.snap.Waypoints[key]
	if w == nil {
		return c.missing(st, path, "Gateway "+key+" of class "+api.WaypointClass)
	}
	return []attached{{Target: model.Target{Waypoint: key}, path: path, waypoint: w}}
}

// claim gives a target to the first policy of a kind that asks for it.
func (c *compiler) claim(st *Status, p policyObject, t attached) bool {
	key := p.kind + "@" + t.String()
	owner, taken := c.claims[key]
	me := p.GetNamespace() + "/" + p.GetName()
	if taken && owner != me {
		st.set(conditionAccepted, false, reasonConflicted, "%s %s, which is older, has %s already; this one is not in force there", p.kind, owner, t.String())
		st.fail(t.path, fmt.Sprintf("%s belongs to %s %s, which is older", t.String(), p.kind, owner), "join the two, or remove one")
		return false
	}
	c.claims[key] = me
	return !taken
}

// put adds a policy at one target to the snapshot.
func (c *compiler) put(p policyObject, t attached, a model.Attachment) {
	a.Kind, a.Namespace, a.Name, a.Target, a.Created = p.kind, p.GetNamespace(), p.GetName(), t.Target, created(p)
	c.snap.Attachments[a.Key()] = &a
}

func created(p policyObject) time.Time { return p.GetCreationTimestamp().UTC() }

// byWaypoint says where a policy that a waypoint enforces is in force, and reports whether it is: a service
// without one has nobody to do it.
func (c *compiler) byWaypoint(p policyObject, t attached) bool {
	st := c.status(p.kind, p, p.at)
	if t.waypoint == nil {
		why := t.String() + " has no waypoint that could do this: " + t.info.unserved()
		st.set(conditionEnforced, false, reasonNoWaypoint, "%s", why)
		st.warn(t.path, why, fmt.Sprintf("make a Gateway of class %s and label the Service or its namespace %s: <gateway>", api.WaypointClass, api.LabelUseWaypoint))
		return false
	}
	st.set(conditionEnforced, true, "Enforced", "for %s by waypoint %s", t.String(), t.waypoint.Key())
	return true
}
