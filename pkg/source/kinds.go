package source

import (
	"cmp"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// kind is a kind of object that is read.
type kind struct {
	group      string
	versions   []string
	name       string
	namespaced bool
	typ        reflect.Type
	add        func(*Objects, metav1.Object, Origin)
	sort       func(*Objects)
	count      func(*Objects) int
	each       func(*Objects, func(metav1.Object, Origin))
	same       func(a, b *Objects, statusAside bool) bool
	patch      func(*Objects, []Edit)
	take       func(to, from *Objects)
	validate   func(*inspection, metav1.Object)
	schema     func() (*schema, error) // nil for others' kinds
}

const gatewayGroup = gatewayv1.GroupName

var kinds = []*kind{
	newKind("", "Namespace", false, func(o *Objects) *[]Object[corev1.Namespace] { return &o.Namespaces }),
	newKind("", "ServiceAccount", true, func(o *Objects) *[]Object[corev1.ServiceAccount] { return &o.ServiceAccounts }),
	newKind("", "Pod", true, func(o *Objects) *[]Object[corev1.Pod] { return &o.Pods }),
	newKind("", "Node", false, func(o *Objects) *[]Object[corev1.Node] { return &o.Nodes }),
	newKind("", "Service", true, func(o *Objects) *[]Object[corev1.Service] { return &o.Services }),
	newKind("", "ConfigMap", true, func(o *Objects) *[]Object[corev1.ConfigMap] { return &o.ConfigMaps }),
	newKind("apps", "Deployment", true, func(o *Objects) *[]Object[appsv1.Deployment] { return &o.Deployments }),
	newKind("discovery.k8s.io", "EndpointSlice", true, func(o *Objects) *[]Object[discoveryv1.EndpointSlice] { return &o.EndpointSlices }),
	newKind(networkingv1.GroupName, "ServiceCIDR", false, func(o *Objects) *[]Object[networkingv1.ServiceCIDR] { return &o.ServiceCIDRs }, "v1beta1"),
	newKind(gatewayGroup, "Gateway", true, func(o *Objects) *[]Object[gatewayv1.Gateway] { return &o.Gateways }, "v1beta1"),
	newKind(gatewayGroup, "GatewayClass", false, func(o *Objects) *[]Object[gatewayv1.GatewayClass] { return &o.GatewayClasses }, "v1beta1"),
	newKind(gatewayGroup, "HTTPRoute", true, func(o *Objects) *[]Object[gatewayv1.HTTPRoute] { return &o.HTTPRoutes }, "v1beta1"),
	newKind(gatewayGroup, "GRPCRoute", true, func(o *Objects) *[]Object[gatewayv1.GRPCRoute] { return &o.GRPCRoutes }),
	newKind(gatewayGroup, "TCPRoute", true, func(o *Objects) *[]Object[gatewayv1.TCPRoute] { return &o.TCPRoutes }),
	newKind(gatewayGroup, "TLSRoute", true, func(o *Objects) *[]Object[gatewayv1.TLSRoute] { return &o.TLSRoutes }),
	newKind(gatewayGroup, "ReferenceGrant", true, func(o *Objects) *[]Object[gatewayv1.ReferenceGrant] { return &o.ReferenceGrants }, "v1beta1"),
	newKind(api.Group, "AuthorizationPolicy", true, func(o *Objects) *[]Object[api.AuthorizationPolicy] { return &o.AuthorizationPolicies }),
	newKind(api.Group, "PeerAuthentication", true, func(o *Objects) *[]Object[api.PeerAuthentication] { return &o.PeerAuthentications }),
	newKind(api.Group, "Fault", true, func(o *Objects) *[]Object[api.Fault] { return &o.Faults }),
	newKind(api.Group, "RequestAuthentication", true, func(o *Objects) *[]Object[api.RequestAuthentication] { return &o.RequestAuthentications }),
	newKind(api.Group, "TrafficPolicy", true, func(o *Objects) *[]Object[api.TrafficPolicy] { return &o.TrafficPolicies }),
	newKind(api.Group, "RateLimit", true, func(o *Objects) *[]Object[api.RateLimit] { return &o.RateLimits }),
	newKind(api.Group, "Telemetry", true, func(o *Objects) *[]Object[api.Telemetry] { return &o.Telemetries }),
	newKind(api.Group, "Extension", true, func(o *Objects) *[]Object[api.Extension] { return &o.Extensions }),
	newKind(api.Group, "HTTPFilter", true, func(o *Objects) *[]Object[api.HTTPFilter] { return &o.HTTPFilters }),
	newKind(api.Group, "EnvoyPatch", true, func(o *Objects) *[]Object[api.EnvoyPatch] { return &o.EnvoyPatches }),
}

// ignored are kinds that belong beside ours in a folder of manifests and concern other programs.
var ignored = map[string][]string{
	"": {"Secret", "PersistentVolume", "PersistentVolumeClaim", "Endpoints", "Event", "LimitRange",
		"ResourceQuota", "ReplicationController", "PodTemplate"},
	"apps":       {"ReplicaSet", "StatefulSet", "DaemonSet", "ControllerRevision"},
	gatewayGroup: {"UDPRoute", "BackendTLSPolicy", "ListenerSet"},
}

func newKind[T any, P interface {
	*T
	metav1.Object
}](group, name string, namespaced bool, list func(*Objects) *[]Object[T], more ...string) *kind {
	version := "v1"
	if group == api.Group {
		version = api.Version
	}
	return &kind{
		group: group, versions: append([]string{version}, more...), name: name, namespaced: namespaced, typ: reflect.TypeFor[T](),
		add: func(o *Objects, v metav1.Object, at Origin) {
			l := list(o)
			*l = append(*l, Object[T]{Origin: at, Value: (*T)(v.(P))})
		},
		sort: func(o *Objects) {
			slices.SortStableFunc(*list(o), func(a, b Object[T]) int {
				x, y := P(a.Value), P(b.Value)
				return cmp.Or(cmp.Compare(x.GetNamespace(), y.GetNamespace()), cmp.Compare(x.GetName(), y.GetName()))
			})
		},
		count: func(o *Objects) int { return len(*list(o)) },
		each: func(o *Objects, visit func(metav1.Object, Origin)) {
			for _, v := range *list(o) {
				visit(P(v.Value), v.Origin)
			}
		},
		same:     func(a, b *Objects, statusAside bool) bool { return sameList[T, P](*list(a), *list(b), statusAside) },
		patch:    func(o *Objects, edits []Edit) { *list(o) = patched[T, P](*list(o), edits) },
		take:     func(to, from *Objects) { *list(to) = joined(*list(to), *list(from)) },
		validate: validators[name],
		schema:   schemaOf(group, name),
	}
}

// apiVersion is the preferred one, as a person writes it.
func (k *kind) apiVersion() string {
	if k.group == "" {
		return k.versions[0]
	}
	return k.group + "/" + k.versions[0]
}

// key identifies an object among all.
type key struct{ kind, namespace, name string }
