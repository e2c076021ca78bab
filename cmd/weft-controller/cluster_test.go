package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/ca"
)

// onCluster is a bench whose objects are in a cluster.
type onCluster struct {
	*bench
	api *kubetest.Server
}

// newCluster runs an API server with all resources installed.
func newCluster(t *testing.T) *onCluster {
	t.Helper()
	return newClusterOf(t, "standard")
}

// newClusterOf is one with a channel of Gateway API.
func newClusterOf(t *testing.T, channel string) *onCluster {
	t.Helper()
	s := kubetest.Start(t)
	s.InstallGatewayAPI(channel)
	ours, err := filepath.Glob("../../charts/weft/files/crds/*.yaml")
	if err != nil || len(ours) == 0 {
		t.Fatalf("no resource definitions in the chart: %v", err)
	}
	s.InstallCRDs(ours...)
	s.Apply(systemYAML)
	b := newBench(t)
	b.c.sources, b.c.kubeconfig, b.c.tokenKey, b.c.caSecret = []string{"kubernetes"}, s.Kubeconfig(), "", "weft-ca"
	b.c.waypointImage, b.c.taintNodes, b.c.replica, b.c.lease = "example.com/waypoint:1", true, "one", 3*time.Second
	return &onCluster{b, s}
}

// replica is another controller of the same cluster, with folders of its own.
func (b *onCluster) replica(name string) *bench {
	other := newBench(b.t)
	c := b.c
	c.replica, c.caDir, c.adminSocket = name, other.c.caDir, other.c.adminSocket
	other.c = c
	return other
}

func (b *onCluster) client() *kubernetes.Clientset {
	b.t.Helper()
	client, err := kubernetes.NewForConfig(b.api.Config())
	if err != nil {
		b.t.Fatal(err)
	}
	return client
}

// token asks for a service-account token.
func (b *onCluster) token(namespace, account, audience string) string {
	return b.request(namespace, account, authenticationv1.TokenRequestSpec{Audiences: []string{audience}})
}

// podToken asks for one that is bound to a pod, and so to its node, as kubelet does.
func (b *onCluster) podToken(namespace, account, pod string) string {
	b.t.Helper()
	p := b.api.Get(fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\n", pod, namespace))
	if p == nil {
		b.t.Fatalf("there is no pod %s/%s", namespace, pod)
	}
	return b.request(namespace, account, authenticationv1.TokenRequestSpec{Audiences: []string{ca.TokenAudience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: p.GetUID()}})
}

func (b *onCluster) request(namespace, account string, spec authenticationv1.TokenRequestSpec) string {
	b.t.Helper()
	r, err := b.client().CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), account,
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Status.Token
}

// event is the message of an Event about an object of namespace shop; empty when there is none.
func (b *onCluster) event(kind, name, reason string) string {
	b.t.Helper()
	list, err := b.client().CoreV1().Events("shop").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return ""
	}
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Reason == reason {
			return e.Message
		}
	}
	return ""
}

// condition is status/reason of one of an object's conditions.
func (b *onCluster) condition(object, kind string) string {
	u := b.api.Get(object)
	if u == nil {
		return "no object"
	}
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	if parents, _, _ := unstructured.NestedSlice(u.Object, "status", "parents"); len(list) == 0 {
		for _, p := range parents {
			more, _, _ := unstructured.NestedSlice(p.(map[string]any), "conditions")
			list = append(list, more...)
		}
	}
	for _, c := range list {
		if m := c.(map[string]any); m["type"] == kind {
			return m["status"].(string) + "/" + m["reason"].(string)
		}
	}
	return "no condition"
}

// withParameters is the Gateway of gatewayYAML.
var withParameters = strings.Replace(gatewayYAML, "listeners:", "infrastructure: {parametersRef: {group: \"\", kind: ConfigMap, name: size}}\n  listeners:", 1)

const (
	systemYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: weft-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: weft-ztunnel, namespace: weft-system}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: weft-agent, namespace: weft-system}
spec:
  selector: {matchLabels: {app: weft-agent}}
  template: {metadata: {labels: {app: weft-agent}}, spec: {containers: [{name: agent, image: agent}]}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weft-waypoint}
spec: {controllerName: weft.dev/waypoint}
`
	cartYAML = `
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, labels: {weft.dev/use-waypoint: way}}
spec: {selector: {app: cart}, ports: [{port: 80, name: http}]}
`
	cartRouteYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules: [{backendRefs: [{name: cart, port: 80}]}]
`
	configMapYAML  = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: weft-root, namespace: %s}\n"
	deploymentYAML = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: way, namespace: shop}\n"
)

// On a cluster the controller makes the mesh's root, deploys waypoints, writes status, serves proxies that show
// tokens of the cluster. The parts run in order on one API server.
func TestOnACluster(t *testing.T) {
	b := newCluster(t)
	address, _ := b.start()
	t.Run("root", func(t *testing.T) {
		eventually(t, "the roots are handed out", func() bool {
			u := b.api.Get(strings.Replace(configMapYAML, "%s", "weft-system", 1))
			if u == nil {
				return false
			}
			text, _, _ := unstructured.NestedString(u.Object, "data", "root-cert.pem")
			return text != "" && text == b.read("ca/root-cert.pem")
		})
	})
	t.Run("class", func(t *testing.T) {
		const class = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: weft-waypoint}\n"
		eventually(t, "the class is accepted", func() bool { return b.condition(class, "Accepted") == "True/Accepted" })
		if f, _, _ := unstructured.NestedSlice(b.api.Get(class).Object, "status", "supportedFeatures"); len(f) == 0 {
			t.Error("the class names no features")
		}
	})
	t.Run("waypoint", func(t *testing.T) { waypointOnCluster(t, b) })
	t.Run("waypoint's parameters", func(t *testing.T) { parametersOnCluster(t, b) })
	t.Run("routes", func(t *testing.T) {
		b.api.Apply(cartYAML, cartRouteYAML)
		eventually(t, "the route has status", func() bool { return b.condition(cartRouteYAML, "ResolvedRefs") == "True/ResolvedRefs" })
		eventually(t, "the service is told of its waypoint", func() bool { return strings.HasPrefix(b.condition(cartYAML, "weft.dev/WaypointBound"), "True/") })
	})
	t.Run("policies", func(t *testing.T) {
		p := strings.Replace(strings.Replace(policyYAML, "%s", "open", 1), "%s", `namespaces: [shop]`, 1)
		b.api.Apply(p)
		eventually(t, "the policy has status", func() bool { return b.condition(p, "Accepted") != "no condition" })
	})
	t.Run("proxies", func(t *testing.T) {
		z := b.dialToken(address, b.token("weft-system", "weft-ztunnel", ca.TokenAudience))
		eventually(t, "the service arrives", func() bool { return z.service("cart") != nil })
	})
	t.Run("keys of token issuers", func(t *testing.T) { keysOnCluster(t, b) })
}

const (
	scalerYAML     = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: way, namespace: shop}\n"
	budgetYAML     = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: way, namespace: shop}\n"
	parametersYAML = `
apiVersion: v1
kind: ConfigMap
metadata: {name: size, namespace: shop, labels: {weft.dev/waypoint-parameters: ""}}
data: {waypoint: "%s"}
`
)

func parametersOnCluster(t *testing.T, b *onCluster) {
	replicas := func() int64 {
		n, _, _ := unstructured.NestedInt64(b.api.Get(deploymentYAML).Object, "spec", "replicas")
		return n
	}
	b.api.Apply(fmt.Sprintf(parametersYAML, "{autoscaling: {maxReplicas: 4}, disruptionBudget: {minAvailable: 1}}"), withParameters)
	eventually(t, "autoscaler and budget are made", func() bool { return b.api.Get(scalerYAML) != nil && b.api.Get(budgetYAML) != nil })
	b.api.Apply(fmt.Sprintf(parametersYAML, "{replicas: 3}"))
	eventually(t, "they are removed, and the replicas are as told", func() bool {
		return b.api.Get(scalerYAML) == nil && b.api.Get(budgetYAML) == nil && replicas() == 3
	})
	b.api.Apply(fmt.Sprintf(parametersYAML, "{replica: 3}"))
	eventually(t, "a typo is told", func() bool { return b.condition(gatewayYAML, "Accepted") == "False/InvalidParameters" })
	eventually(t, "by an Event too", func() bool { return b.event("Gateway", "way", "InvalidParameters") != "" })
	b.api.Apply(fmt.Sprintf(parametersYAML, "{}"))
	eventually(t, "it is corrected", func() bool { return b.condition(gatewayYAML, "Accepted") == "True/Accepted" && replicas() == 1 })
}

func waypointOnCluster(t *testing.T, b *onCluster) {
	b.api.Apply(gatewayYAML)
	eventually(t, "it is deployed", func() bool { return b.api.Get(deploymentYAML) != nil })
	d := b.api.Get(deploymentYAML)
	if o := d.GetOwnerReferences(); len(o) != 1 || o[0].Kind != "Gateway" || o[0].UID != b.api.Get(gatewayYAML).GetUID() {
		t.Errorf("owners are %v", o)
	}
	containers, _, _ := unstructured.NestedSlice(d.Object, "spec", "template", "spec", "containers")
	if image := containers[0].(map[string]any)["image"]; image != "example.com/waypoint:1" {
		t.Errorf("image is %v", image)
	}
	eventually(t, "its roots are there", func() bool { return b.api.Get(strings.Replace(configMapYAML, "%s", "shop", 1)) != nil })
	eventually(t, "its status says what is missing", func() bool {
		return b.condition(gatewayYAML, "Accepted") == "True/Accepted" && b.condition(gatewayYAML, "Programmed") == "False/NoResources"
	})
	eventually(t, "its address is told", func() bool {
		a, _, _ := unstructured.NestedSlice(b.api.Get(gatewayYAML).Object, "status", "addresses")
		return len(a) == 1
	})
}
