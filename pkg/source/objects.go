package source

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// Object is one object and where it was written. Both are shared and not to be changed.
type Object[T any] struct {
	Origin Origin
	Value  *T
}

// Objects are all objects of all folders, each list sorted by namespace and name.
type Objects struct {
	Namespaces             []Object[corev1.Namespace]
	ServiceAccounts        []Object[corev1.ServiceAccount]
	Pods                   []Object[corev1.Pod]
	Nodes                  []Object[corev1.Node]
	Services               []Object[corev1.Service]
	ConfigMaps             []Object[corev1.ConfigMap]
	Deployments            []Object[appsv1.Deployment]
	EndpointSlices         []Object[discoveryv1.EndpointSlice]
	ServiceCIDRs           []Object[networkingv1.ServiceCIDR]
	Gateways               []Object[gatewayv1.Gateway]
	GatewayClasses         []Object[gatewayv1.GatewayClass]
	HTTPRoutes             []Object[gatewayv1.HTTPRoute]
	GRPCRoutes             []Object[gatewayv1.GRPCRoute]
	TCPRoutes              []Object[gatewayv1.TCPRoute]
	TLSRoutes              []Object[gatewayv1.TLSRoute]
	ReferenceGrants        []Object[gatewayv1.ReferenceGrant]
	AuthorizationPolicies  []Object[api.AuthorizationPolicy]
	PeerAuthentications    []Object[api.PeerAuthentication]
	Faults                 []Object[api.Fault]
	RequestAuthentications []Object[api.RequestAuthentication]
	TrafficPolicies        []Object[api.TrafficPolicy]
	RateLimits             []Object[api.RateLimit]
	Telemetries            []Object[api.Telemetry]
	Extensions             []Object[api.Extension]
	HTTPFilters            []Object[api.HTTPFilter]
	EnvoyPatches           []Object[api.EnvoyPatch]

	// Unread are policies that never were good: nothing but their name and target is certain.
	Unread []Unread

	// Announcements are what the nodes' agents said of pods beside their annotations, by namespace/name.
	Announcements map[string]Announcement
}

// Announcement is what an agent says became of a pod.
type Announcement struct {
	// Redirection is "enabled" once the pod's traffic is captured.
	Redirection string `json:"redirection"`
	// UID, when given, is that of the pod it is about; one of another pod of the same name is void.
	UID string `json:"uid,omitempty"`
}

// Count is the number of objects of all kinds.
func (o *Objects) Count() int {
	n := 0
	for _, k := range kinds {
		n += k.count(o)
	}
	return n
}

// Each visits every object of every kind.
func (o *Objects) Each(visit func(kind string, v metav1.Object, at Origin)) {
	for _, k := range kinds {
		k.each(o, func(v metav1.Object, at Origin) { visit(k.name, v, at) })
	}
}

// Counts is the number of objects of each kind.
func (o *Objects) Counts() map[string]int {
	out := map[string]int{}
	for _, k := range kinds {
		out[k.name] = k.count(o)
	}
	return out
}
