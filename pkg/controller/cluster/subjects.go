package cluster

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
)

// status is that part of an object's status that is ours.
type status struct {
	Conditions        []metav1.Condition               `json:"conditions,omitempty"`
	Addresses         []gatewayv1.GatewayStatusAddress `json:"addresses,omitempty"`
	Listeners         []gatewayv1.ListenerStatus       `json:"listeners,omitempty"`
	SupportedFeatures []gatewayv1.SupportedFeature     `json:"supportedFeatures,omitempty"`
	Parents           []gatewayv1.RouteParentStatus    `json:"-"`

	others  []any  // parents that are not ours
	version string // of the object that others are from
}

// MarshalJSON joins our parents and those of others.
func (s *status) MarshalJSON() ([]byte, error) {
	type plain status
	if s.Parents == nil {
		return json.Marshal((*plain)(s))
	}
	all := slices.Clone(s.others)
	for _, p := range s.Parents {
		all = append(all, p)
	}
	return json.Marshal(map[string]any{"parents": all})
}

// all conditions, also those of parents.
func (s *status) all() []metav1.Condition {
	if s == nil {
		return nil
	}
	out := slices.Clone(s.Conditions)
	for _, p := range s.Parents {
		out = append(out, p.Conditions...)
	}
	return out
}

// Conditions of ours at objects that are not.
const (
	// ConditionBound is that of Services whose calls are to pass a waypoint.
	ConditionBound = api.Group + "/WaypointBound"
	// ConditionProgrammed is False at Services and routes that a waypoint does not serve as they are written.
	ConditionProgrammed = api.Group + "/Programmed"
)

// statusResources by kind, but for our own, which are in api.Resources.
var statusResources = map[string]string{
	"Gateway": "gateways", "GatewayClass": "gatewayclasses", "HTTPRoute": "httproutes", "GRPCRoute": "grpcroutes",
	"TCPRoute": "tcproutes", "TLSRoute": "tlsroutes", "Service": "services",
}

// statusResource is the resource of a kind, "" where we write no status.
func statusResource(kind string) string { return cmp.Or(statusResources[kind], api.Resources[kind]) }

// subjectOf is how a kind is compared, nil where we write no status.
func subjectOf(kind string) func(metav1.Object, *Report) (now, next *status) {
	if api.Resources[kind] != "" {
		return policy
	}
	return subjects[kind]
}

// subjects compare, by kind, our part of an object's status as it is with what it is to be by the report, which
// may be nil. The second result is nil for objects that are none of our business.
var subjects = map[string]func(metav1.Object, *Report) (now, next *status){
	"Service":      service,
	"Gateway":      gateway,
	"GatewayClass": gatewayClass,
	"HTTPRoute": func(o metav1.Object, r *Report) (*status, *status) {
		return route(o.(*gatewayv1.HTTPRoute).Status.Parents, r)
	},
	"GRPCRoute": func(o metav1.Object, r *Report) (*status, *status) {
		return route(o.(*gatewayv1.GRPCRoute).Status.Parents, r)
	},
	"TCPRoute": func(o metav1.Object, r *Report) (*status, *status) {
		return route(o.(*gatewayv1.TCPRoute).Status.Parents, r)
	},
	"TLSRoute": func(o metav1.Object, r *Report) (*status, *status) {
		return route(o.(*gatewayv1.TLSRoute).Status.Parents, r)
	},
}

// policy is an object of one of our kinds: its conditions are ours alone.
func policy(o metav1.Object, r *Report) (now, next *status) {
	return &status{Conditions: ordered(o.(api.Policy).GetStatus().Conditions)}, &status{Conditions: wanted(r)}
}

// service has conditions of ours among those of others, under names of ours.
func service(o metav1.Object, r *Report) (*status, *status) {
	now, next := &status{}, &status{}
	for _, c := range o.(*corev1.Service).Status.Conditions {
		if c.Type == ConditionBound || c.Type == ConditionProgrammed {
			now.Conditions = append(now.Conditions, c)
		}
	}
	for _, c := range wanted(r) {
		c.Type = api.Group + "/" + c.Type
		if c.Type == ConditionBound || c.Type == ConditionProgrammed {
			next.Conditions = append(next.Conditions, c)
		}
	}
	now.Conditions = ordered(now.Conditions)
	return now, next
}

// gateway has the address of its Service, and a state for each listener.
func gateway(o metav1.Object, r *Report) (now, next *status) {
	g := o.(*gatewayv1.Gateway)
	now = &status{Conditions: ordered(g.Status.Conditions), Addresses: g.Status.Addresses, Listeners: g.Status.Listeners}
	if r == nil || len(r.Conditions) == 0 {
		return now, nil // somebody else's
	}
	next = &status{Conditions: wanted(r), Listeners: r.Listeners}
	for _, a := range r.Addresses {
		ip := gatewayv1.IPAddressType
		next.Addresses = append(next.Addresses, gatewayv1.GatewayStatusAddress{Type: &ip, Value: a})
	}
	return now, next
}

func gatewayClass(o metav1.Object, r *Report) (now, next *status) {
	c := o.(*gatewayv1.GatewayClass)
	if c.Spec.ControllerName != api.WaypointController {
		return nil, nil
	}
	now = &status{Conditions: ordered(c.Status.Conditions), SupportedFeatures: c.Status.SupportedFeatures}
	next = &status{Conditions: wanted(r)}
	if r != nil {
		for _, f := range r.Features {
			next.SupportedFeatures = append(next.SupportedFeatures, gatewayv1.SupportedFeature{Name: gatewayv1.FeatureName(f)})
		}
	}
	return now, next
}

// route has parents; those that we do not answer for are none of our business.
func route(all []gatewayv1.RouteParentStatus, r *Report) (now, next *status) {
	now, next = &status{Parents: []gatewayv1.RouteParentStatus{}}, &status{Parents: []gatewayv1.RouteParentStatus{}}
	for _, p := range all {
		if p.ControllerName == api.MeshController {
			p.Conditions = ordered(p.Conditions)
			now.Parents = append(now.Parents, p)
		}
	}
	if r != nil {
		for _, p := range r.Parents {
			p.Conditions = limited(ordered(p.Conditions))
			next.Parents = append(next.Parents, p)
		}
	}
	return now, next
}

func wanted(r *Report) []metav1.Condition {
	if r == nil {
		return nil
	}
	return limited(ordered(r.Conditions))
}

// ordered sorts by type; none is nil.
func ordered(list []metav1.Condition) []metav1.Condition {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b metav1.Condition) int {
		switch {
		case a.Type < b.Type:
			return -1
		case a.Type > b.Type:
			return 1
		}
		return 0
	})
	return out
}

// maxMessage is what the API takes, less some room.
const maxMessage = 32000

func limited(list []metav1.Condition) []metav1.Condition {
	for i := range list {
		if m := list[i].Message; len(m) > maxMessage {
			list[i].Message = m[:maxMessage] + " …"
		}
	}
	return list
}

// Written lists what was written of objects' status before, as far as it has times.
func Written(objs *source.Objects) []controller.Status {
	var out []controller.Status
	each(objs, func(kind string, o metav1.Object) {
		if subjectOf(kind) == nil {
			return
		}
		now, _ := subjectOf(kind)(o, nil)
		if now == nil || len(now.Conditions)+len(now.Parents)+len(now.Listeners) == 0 {
			return
		}
		for i, c := range now.Conditions {
			now.Conditions[i].Type = strings.TrimPrefix(c.Type, api.Group+"/")
		}
		out = append(out, controller.Status{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Conditions: now.Conditions, Parents: now.Parents, Listeners: now.Listeners})
	})
	return out
}
