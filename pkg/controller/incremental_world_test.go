package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// changing is a mesh whose objects come, change and go at random. Its lists are new after each change.
type changing struct {
	dice
	objs      *source.Objects
	waypoints bool // there may be some
	now       time.Time
}

func newChanging(d dice) *changing {
	c := &changing{dice: d, objs: &source.Objects{}, waypoints: d.IntN(2) == 0, now: time.Unix(1_800_000_000, 0)}
	for range 30 {
		c.pod()
		c.other()
	}
	return c
}

// replace puts an object into a new list in the place of the one of its name, or, nil, leaves that out.
func replace[T any, P interface {
	*T
	metav1.Object
}](list *[]source.Object[T], namespace, name string, o P) {
	next := slices.DeleteFunc(slices.Clone(*list), func(have source.Object[T]) bool {
		return P(have.Value).GetNamespace() == namespace && P(have.Value).GetName() == name
	})
	if o != nil {
		o.SetNamespace(namespace)
		o.SetName(name)
		next = append(next, source.Object[T]{Value: (*T)(o)})
	}
	slices.SortFunc(next, func(a, b source.Object[T]) int {
		x, y := P(a.Value), P(b.Value)
		return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName()))
	})
	*list = next
}

// one in n.
func (c *changing) one(n int) bool { return c.IntN(n) == 0 }

func (c *changing) namespace() string {
	return oneOf(c.dice, "shop", "shop", "other", api.SystemNamespace)
}

// edit gives the objects a new value, so that the old one stays.
func (c *changing) edit() *source.Objects {
	next := *c.objs
	c.objs = &next
	return c.objs
}

// pod changes one: it comes, goes, becomes another, or only ready or unready, which is most frequent.
func (c *changing) pod() {
	objs := c.edit()
	if len(objs.Pods) > 0 && !c.one(3) {
		was := objs.Pods[c.IntN(len(objs.Pods))].Value
		now := was.DeepCopy()
		if c.one(4) {
			now.DeletionTimestamp = &metav1.Time{Time: c.now}
		}
		now.Status.Conditions = c.ready()
		if c.one(5) {
			now.Labels["stage"] = oneOf(c.dice, "one", "two")
		}
		if c.one(5) {
			now.Status.PodIPs, now.Status.PodIP = nil, oneOf(c.dice, "", "10.9.9.9", "10.1.0.7")
		}
		replace(&objs.Pods, was.Namespace, was.Name, now)
		return
	}
	ns, i := c.namespace(), c.IntN(12)
	name := fmt.Sprintf("p%d", i)
	if c.one(3) {
		replace(&objs.Pods, ns, name, (*corev1.Pod)(nil))
		return
	}
	replace(&objs.Pods, ns, name, c.newPod(ns, i))
}

func (c *changing) ready() []corev1.PodCondition {
	return []corev1.PodCondition{{Type: corev1.PodReady, Status: oneOf(c.dice, corev1.ConditionTrue, corev1.ConditionFalse)}}
}

func (c *changing) newPod(ns string, i int) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Labels: map[string]string{}}}
	p.Spec = corev1.PodSpec{NodeName: oneOf(c.dice, "n1", "n2", ""), ServiceAccountName: oneOf(c.dice, "", "cart", "wp"), HostNetwork: c.one(15)}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.0.%d.%d", len(ns), i), Conditions: c.ready()}
	if !c.one(8) {
		p.Labels["app"] = oneOf(c.dice, "pay", "pay", "cart")
	}
	if c.one(2) {
		p.Labels["stage"] = oneOf(c.dice, "one", "two")
	}
	if c.one(10) {
		p.Labels[api.LabelMode] = oneOf(c.dice, "none", api.ModeAmbient)
	}
	if !c.one(4) {
		p.Annotations = map[string]string{api.AnnotationRedirection: api.RedirectionEnabled}
	}
	if c.one(4) {
		p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: oneOf[int32](c.dice, 8080, 9090)}}}}
	}
	if c.one(8) {
		p.Status.Phase = oneOf(c.dice, corev1.PodSucceeded, corev1.PodPending)
	}
	if c.one(8) {
		p.Status.PodIP = oneOf(c.dice, "", "10.9.9.9", "10.1.0.7")
	}
	if c.waypoints && c.one(6) {
		p.Labels[api.LabelUseWaypoint] = oneOf(c.dice, "wp", "none", "missing")
	}
	if c.waypoints && c.one(12) {
		p.Labels[api.LabelGatewayName] = oneOf(c.dice, "wp", "wq")
	}
	return p
}

// other changes an object that is no pod.
func (c *changing) other() {
	ns, gone := c.namespace(), c.one(3)
	objs := c.edit()
	service := oneOf(c.dice, "pay", "cart", "all", "hand", "wp")
	switch name := oneOf(c.dice, "x", "y"); c.IntN(14) {
	case 0:
		replace(&objs.Namespaces, "", ns, unless(gone, c.newNamespace))
	case 1, 2:
		replace(&objs.Services, ns, service, unless(gone, func() *corev1.Service { return c.newService(service) }))
	case 3:
		replace(&objs.EndpointSlices, ns, name, unless(gone, c.newSlice))
	case 4, 5, 6:
		p := c.policy(name)
		c.target(p)
		replace(&objs.AuthorizationPolicies, ns, name, unless(gone, func() *api.AuthorizationPolicy { return p }))
	case 7, 8:
		replace(&objs.PeerAuthentications, ns, name, unless(gone, c.newPeer))
	case 9:
		replace(&objs.Nodes, "", oneOf(c.dice, "n1", "n2"), unless(gone, func() *corev1.Node {
			return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: oneOf(c.dice, "a", "b")}}}
		}))
	case 10:
		replace(&objs.RequestAuthentications, ns, name, unless(gone || c.one(2), func() *api.RequestAuthentication {
			return &api.RequestAuthentication{Spec: api.RequestAuthenticationSpec{Required: true, TargetRefs: []api.TargetRef{{Kind: "Service", Name: service}}}}
		}))
	case 11, 13:
		c.waypoint(objs, ns, gone)
	case 12:
		at := metav1.NewTime(c.now.Add(time.Duration(c.IntN(5)) * time.Minute))
		replace(&objs.Faults, ns, name, unless(gone, func() *api.Fault {
			return &api.Fault{Spec: api.FaultSpec{Expires: &at, TargetRefs: []api.TargetRef{{Kind: "Service", Name: service}}, Rules: []api.FaultRule{{Connection: &api.FaultConnection{}}}}}
		}))
	}
}

func unless[P any](gone bool, make func() *P) *P {
	if gone {
		return nil
	}
	return make()
}

func (c *changing) newNamespace() *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}}}
	if !c.one(4) {
		n.Labels[api.LabelMode] = api.ModeAmbient
	}
	if c.waypoints && c.one(3) {
		n.Labels[api.LabelUseWaypoint] = "wp"
	}
	return n
}

func (c *changing) newService(name string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0." + fmt.Sprint(len(name)), Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	switch name {
	case "pay", "cart":
		s.Spec.Selector = map[string]string{"app": name}
		if c.one(3) {
			s.Spec.Selector["stage"] = "one"
		}
	case "all":
		s.Spec.Selector = map[string]string{"stage": oneOf(c.dice, "one", "two")}
	case "wp":
		s.Spec.Selector = map[string]string{api.LabelGatewayName: "wp"}
	}
	if c.one(3) {
		s.Spec.Ports[0].TargetPort = intstr.FromString("web")
	}
	if c.one(6) {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	if c.waypoints && c.one(5) {
		s.Labels[api.LabelUseWaypoint] = oneOf(c.dice, "wp", "missing")
	}
	return s
}

func (c *changing) newSlice() *discoveryv1.EndpointSlice {
	port, ready := int32(80), c.one(2)
	name := "http"
	e := discoveryv1.Endpoint{Addresses: []string{oneOf(c.dice, "10.9.9.9", "10.1.0.7", "10.0.4.3", "192.0.2.1", "192.0.2.2")}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if c.one(2) {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprintf("p%d", c.IntN(12))}
	}
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "hand"}}, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{e}, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}}}
}

// target makes some policies ones for a service.
func (c *changing) target(p *api.AuthorizationPolicy) {
	if c.one(6) {
		p.Spec.Selector, p.Spec.TargetRefs = nil, []api.TargetRef{{Kind: "Service", Name: oneOf(c.dice, "pay", "cart")}}
	}
}

func (c *changing) newPeer() *api.PeerAuthentication {
	modes := []api.MTLSMode{api.ModeStrict, api.ModePermissive, api.ModeUnset, "", "NONSENSE"}
	p := &api.PeerAuthentication{}
	p.Spec.MTLS.Mode = modes[c.IntN(len(modes)-c.IntN(2))]
	if c.one(2) {
		p.Spec.Selector = &api.Selector{MatchLabels: map[string]string{"app": oneOf(c.dice, "pay", "cart")}}
		if c.one(4) {
			p.Spec.Selector.MatchLabels = nil
		}
	}
	if c.one(3) {
		p.Spec.PortLevelMTLS = map[string]api.MTLS{oneOf(c.dice, "8080", "9090", "web"): {Mode: modes[c.IntN(2)]}}
	}
	return p
}

// waypoint changes a Gateway, a route that its services have, or what is done to their requests.
func (c *changing) waypoint(objs *source.Objects, ns string, gone bool) {
	if !c.waypoints {
		return
	}
	service := oneOf(c.dice, "pay", "cart")
	switch c.IntN(3) {
	case 0:
		replace(&objs.Gateways, ns, "wp", unless(gone, func() *gatewayv1.Gateway {
			return &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{api.LabelWaypointFor: oneOf(c.dice, "service", "all", "workload", "nonsense")}},
				Spec: gatewayv1.GatewaySpec{GatewayClassName: api.WaypointClass}}
		}))
	case 1:
		replace(&objs.HTTPRoutes, ns, "r", unless(gone, func() *gatewayv1.HTTPRoute {
			kind, group, port := gatewayv1.Kind("Service"), gatewayv1.Group(""), gatewayv1.PortNumber(80)
			to := gatewayv1.HTTPBackendRef{}
			to.Name, to.Port = "all", &port
			return &gatewayv1.HTTPRoute{Spec: gatewayv1.HTTPRouteSpec{
				CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Kind: &kind, Group: &group, Name: gatewayv1.ObjectName(service)}}},
				Rules:           []gatewayv1.HTTPRouteRule{{BackendRefs: []gatewayv1.HTTPBackendRef{to}}}}}
		}))
	case 2:
		replace(&objs.TrafficPolicies, ns, "t", unless(gone, func() *api.TrafficPolicy {
			return &api.TrafficPolicy{Spec: api.TrafficPolicySpec{TargetRefs: []api.TargetRef{{Kind: "Service", Name: service}}, Subset: map[string]string{"stage": "one"}}}
		}))
	}
}

// step changes some pods, and rarely something else or the time.
func (c *changing) step() {
	for range 1 + c.IntN(4) {
		c.pod()
	}
	if c.one(6) {
		c.other()
	}
	if c.one(12) {
		objs := c.edit()
		objs.Announcements = maps.Clone(objs.Announcements)
		if objs.Announcements == nil {
			objs.Announcements = map[string]source.Announcement{}
		}
		objs.Announcements[c.namespace()+"/p1"] = source.Announcement{Redirection: oneOf(c.dice, "", api.RedirectionEnabled)}
	}
	c.now = c.now.Add(time.Duration(c.IntN(40)) * time.Second)
}
