// Package deploy renders the Kubernetes objects that run a waypoint, from its Gateway.
//
// Render is pure: the controller calls it for each Gateway of class weft-waypoint and applies what comes
// out (to the API server, or as files in a folder). Everything is named after the Gateway and carries the
// label gateway.networking.k8s.io/gateway-name, by which the controller knows the waypoint's pods. The
// pod enrols itself out of the mesh: it speaks HBONE on its own.
package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/api"
)

// Options are what a Gateway does not say. The zero value renders for a cluster.
type Options struct {
	// Image of the waypoint. Default weft.dev/waypoint:latest.
	Image string
	// Command of the container. Default the image's entry point.
	Command string
	// Controller is host:port of xDS and CA. Default weft-controller.weft-system.svc.<ClusterDomain>:15012.
	Controller string
	// TrustDomain of identities and ClusterDomain of names. Defaults cluster.local.
	TrustDomain, ClusterDomain string
	// TokenFile and RootFile, when set, are paths that exist where the pod runs: then no token and no
	// ConfigMap are mounted. The lab uses it, whose pods share the machine's files.
	TokenFile, RootFile string
	// RootConfigMap holds the mesh's roots under root-cert.pem. Default weft-root.
	RootConfigMap string
	// RunDir holds the waypoint's sockets. Default /run/weft-waypoint, an emptyDir.
	RunDir string
	// Replicas. Default 1.
	Replicas int32
	// Parameters of this Gateway, which win; nil for none.
	Parameters *Parameters
	// Args are added to the container's.
	Args []string
}

// What the objects of waypoints are known by, beside the label of their Gateway.
const (
	LabelManagedBy = "app.kubernetes.io/managed-by"
	ManagedBy      = "weft"
	// RootConfigMap holds the mesh's roots.
	RootConfigMap = "weft-root"
)

// TokenAudience is what the waypoint's token is issued for.
const TokenAudience = "weft-ca"

func (o Options) withDefaults() Options {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Image, "weft.dev/waypoint:latest")
	def(&o.TrustDomain, "cluster.local")
	def(&o.ClusterDomain, "cluster.local")
	def(&o.Controller, net.JoinHostPort("weft-controller."+api.SystemNamespace+".svc."+o.ClusterDomain, strconv.Itoa(api.PortXDS)))
	def(&o.RootConfigMap, RootConfigMap)
	def(&o.RunDir, "/run/weft-waypoint")
	if o.Replicas == 0 {
		o.Replicas = 1
	}
	if o.Parameters == nil {
		o.Parameters = &Parameters{}
	}
	return o
}

// Objects are everything that one waypoint consists of.
type Objects struct {
	ServiceAccount *corev1.ServiceAccount
	Service        *corev1.Service
	Deployment     *appsv1.Deployment
	// Autoscaler and DisruptionBudget are nil unless they are asked for.
	Autoscaler       *autoscalingv2.HorizontalPodAutoscaler
	DisruptionBudget *policyv1.PodDisruptionBudget
}

// All lists them in the order in which they are best made.
func (o *Objects) All() []runtime.Object {
	out := []runtime.Object{o.ServiceAccount, o.Service, o.Deployment}
	if o.Autoscaler != nil {
		out = append(out, o.Autoscaler)
	}
	if o.DisruptionBudget != nil {
		out = append(out, o.DisruptionBudget)
	}
	return out
}

// YAML writes the objects as one multi-document file.
func (o *Objects) YAML() ([]byte, error) {
	var out bytes.Buffer
	for i, obj := range o.All() {
		b, err := yaml.Marshal(obj)
		if err != nil {
			return nil, fmt.Errorf("write the waypoint's objects: %w", err)
		}
		if i > 0 {
			out.WriteString("---\n")
		}
		out.Write(b)
	}
	return out.Bytes(), nil
}

// Render makes the objects of a Gateway.
func Render(gw *gatewayv1.Gateway, o Options) *Objects {
	o = o.withDefaults()
	return &Objects{
		ServiceAccount: &corev1.ServiceAccount{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: meta(gw),
		},
		Service:          service(gw),
		Deployment:       deployment(gw, o),
		Autoscaler:       autoscaler(gw, o.Parameters),
		DisruptionBudget: disruptionBudget(gw, o.Parameters),
	}
}

// meta names an object after the Gateway, which owns it; labels and annotations of the Gateway's
// infrastructure are kept.
func meta(gw *gatewayv1.Gateway) metav1.ObjectMeta {
	out := metav1.ObjectMeta{Name: gw.Name, Namespace: gw.Namespace, Labels: map[string]string{}}
	if in := gw.Spec.Infrastructure; in != nil {
		for k, v := range in.Labels {
			out.Labels[string(k)] = string(v)
		}
		for k, v := range in.Annotations {
			if out.Annotations == nil {
				out.Annotations = map[string]string{}
			}
			out.Annotations[string(k)] = string(v)
		}
	}
	maps.Copy(out.Labels, selector(gw))
	out.Labels[LabelManagedBy] = ManagedBy
	out.Labels[api.LabelMode] = api.ModeNone
	if gw.UID != "" {
		yes := true
		out.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: gatewayv1.GroupVersion.String(), Kind: "Gateway", Name: gw.Name, UID: gw.UID, Controller: &yes,
		}}
	}
	return out
}

func selector(gw *gatewayv1.Gateway) map[string]string {
	return map[string]string{api.LabelGatewayName: gw.Name}
}

func service(gw *gatewayv1.Gateway) *corev1.Service {
	hbone, http := "hbone", "http"
	return &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(gw),
		Spec: corev1.ServiceSpec{
			Selector: selector(gw),
			Ports: []corev1.ServicePort{
				{Name: "hbone", Port: api.PortHBONE, TargetPort: intstr.FromInt32(api.PortHBONE), AppProtocol: &hbone, Protocol: corev1.ProtocolTCP},
				{Name: "status", Port: api.PortReady, TargetPort: intstr.FromInt32(api.PortReady), AppProtocol: &http, Protocol: corev1.ProtocolTCP},
			},
		},
	}
}
