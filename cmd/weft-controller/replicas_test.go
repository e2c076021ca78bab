package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

const (
	nodeYAML     = "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\n"
	agentPodYAML = `
apiVersion: v1
kind: Pod
metadata: {name: agent-%[1]s, namespace: weft-system}
spec: {nodeName: %[1]s, serviceAccountName: weft-agent, containers: [{name: agent, image: agent}]}
status: {phase: Running, conditions: [{type: Ready, status: "%[2]s"}]}
`
	cartPodYAML = `
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {nodeName: n1, serviceAccountName: cart, containers: [{name: app, image: app}]}
`
	ztunnelPodYAML = `
apiVersion: v1
kind: Pod
metadata: {name: weft-ztunnel-1, namespace: weft-system}
spec: {nodeName: n1, serviceAccountName: weft-ztunnel, containers: [{name: ztunnel, image: ztunnel}]}
`
	daemonSetYAML = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: weft-agent, namespace: weft-system}\n"
	secretYAML    = "apiVersion: v1\nkind: Secret\nmetadata: {name: weft-ca, namespace: weft-system}\n"
)

// Two controllers on one cluster: both serve, one writes, and the other goes on when that one ends; while the
// API server is away both go on serving. The parts run in order.
func TestReplicas(t *testing.T) {
	b := newCluster(t)
	b.api.Apply(cartYAML, fmt.Sprintf(nodeYAML, "n1"), fmt.Sprintf(nodeYAML, "n2"), cartPodYAML, ztunnelPodYAML)
	r := &replicas{t: t, onCluster: b, one: b.bench, two: b.replica("two")}
	r.at1, r.stop1 = r.one.start()
	r.at2, r.stop2 = r.two.start()
	t.Run("one writes", r.oneWrites)
	t.Run("both serve", func(t *testing.T) { r.bothServe(t, r.token1()) })
	t.Run("a token outlives its pod", r.oldToken)
	t.Run("taints", r.taints)
	t.Run("somebody else's class", r.otherClass)
	t.Run("a name that is taken", r.nameTaken)
	t.Run("garbage in the Secret", r.garbage)
	t.Run("a policy that never was good", r.unread)
	token := r.token1()
	t.Run("the API server goes away", func(t *testing.T) { r.apiGone(t, token) })
	t.Run("the writer ends", r.writerEnds)
}

type replicas struct {
	t *testing.T
	*onCluster
	one, two *bench
	at1, at2 string
	stop1    func()
	stop2    func()
}

func leads(b *bench) bool { return strings.Contains(b.page("/metrics"), "\nweft_controller_leads 1\n") }

// token1 is that of the ztunnel of node n1.
func (r *replicas) token1() string {
	return r.podToken("weft-system", "weft-ztunnel", "weft-ztunnel-1")
}

func (r *replicas) oneWrites(t *testing.T) {
	eventually(t, "one leads", func() bool { return leads(r.one) != leads(r.two) })
	eventually(t, "both have read everything", func() bool { return r.one.page("/ready") != "" && r.two.page("/ready") != "" })
	if a, b := r.one.read("ca/ca-cert.pem"), r.two.read("ca/ca-cert.pem"); a == "" || a != b {
		t.Error("the two have different roots")
	}
}

// certificate asks for that of service account cart.
func certificate(t *testing.T, b *bench, at, token string) error {
	t.Helper()
	cart := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
	_, csr, err := ca.NewRequest(cart)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = securityapi.NewIstioCertificateServiceClient(b.dialWith(at, token)).CreateCertificate(ctx, &securityapi.IstioCertificateRequest{
		Csr: string(csr), ValidityDuration: 3600,
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"ImpersonatedIdentity": structpb.NewStringValue(cart.String())}},
	})
	return err
}

// oldToken: who holds the token of a pod that was replaced gets nothing for it.
func (r *replicas) oldToken(t *testing.T) {
	old := r.token1()
	r.api.Delete(ztunnelPodYAML)
	r.api.Apply(ztunnelPodYAML)
	fresh := r.token1()
	eventually(t, "the new pod's token is taken", func() bool { return certificate(t, r.one, r.at1, fresh) == nil })
	if err := certificate(t, r.one, r.at1, old); err == nil || !strings.Contains(err.Error(), "an earlier pod weft-system/weft-ztunnel-1") {
		t.Errorf("the old pod's: %v", err)
	}
}

// bothServe asks both for configuration and for a certificate of a pod that has no address yet.
func (r *replicas) bothServe(t *testing.T, token string) {
	for _, c := range []struct {
		*bench
		at string
	}{{r.one, r.at1}, {r.two, r.at2}} {
		z := c.dialToken(c.at, token)
		eventually(t, "the service arrives", func() bool { return z.service("cart") != nil })
		if err := certificate(t, c.bench, c.at, token); err != nil {
			t.Errorf("certificate for the pod: %v", err)
		}
	}
}

func (r *replicas) tainted(node string) bool {
	list, _, _ := unstructured.NestedSlice(r.api.Get(fmt.Sprintf(nodeYAML, node)).Object, "spec", "taints")
	for _, taint := range list {
		if taint.(map[string]any)["key"] == "weft.dev/agent-not-ready" {
			return true
		}
	}
	return false
}

func (r *replicas) taints(t *testing.T) {
	r.api.Apply(fmt.Sprintf(agentPodYAML, "n1", "False"), fmt.Sprintf(agentPodYAML, "n2", "True"))
	eventually(t, "n1 is tainted", func() bool { return r.tainted("n1") })
	if r.tainted("n2") {
		t.Error("n2 is tainted, whose agent is ready")
	}
	r.api.Apply(fmt.Sprintf(agentPodYAML, "n1", "True"), fmt.Sprintf(agentPodYAML, "n2", "False"))
	eventually(t, "n1's taint is lifted, n2 is tainted", func() bool { return !r.tainted("n1") && r.tainted("n2") })
	r.api.Delete(fmt.Sprintf(agentPodYAML, "n2", "False"))
	r.api.Apply(fmt.Sprintf(agentPodYAML, "n1", "False"))
	eventually(t, "n1 is tainted again", func() bool { return r.tainted("n1") })
	if !r.tainted("n2") {
		t.Error("n2's taint went with its agent's pod")
	}
	r.api.Delete(daemonSetYAML)
	r.api.Apply(fmt.Sprintf(agentPodYAML, "n1", "Unknown")) // something happens
	eventually(t, "no taint is left without a DaemonSet", func() bool { return !r.tainted("n1") && !r.tainted("n2") })
}

// otherClass: the waypoint of a Gateway that is not ours any more is removed.
func (r *replicas) otherClass(t *testing.T) {
	r.api.Apply(gatewayYAML)
	eventually(t, "it is deployed", func() bool { return r.api.Get(deploymentYAML) != nil })
	r.api.Apply(strings.Replace(gatewayYAML, "weft-waypoint", "other", 1))
	eventually(t, "it is removed", func() bool { return r.api.Get(deploymentYAML) == nil })
	r.api.Delete(gatewayYAML)
}

// nameTaken: what somebody else made is left alone, and told.
func (r *replicas) nameTaken(t *testing.T) {
	const theirs = deploymentYAML + `
spec:
  selector: {matchLabels: {app: theirs}}
  template: {metadata: {labels: {app: theirs}}, spec: {containers: [{name: app, image: theirs}]}}
`
	r.api.Apply(theirs)
	r.api.Apply(gatewayYAML)
	eventually(t, "it is told", func() bool { return strings.Contains(r.event("Gateway", "way", "NameTaken"), "Deployment shop/way") })
	eventually(t, "the rest is made", func() bool {
		return r.api.Get("apiVersion: v1\nkind: Service\nmetadata: {name: way, namespace: shop}\n") != nil
	})
	if labels := r.api.Get(deploymentYAML).GetLabels(); len(labels) != 0 {
		t.Errorf("their Deployment got labels %v", labels)
	}
	r.api.Delete(theirs, gatewayYAML)
}

// garbage in the Secret leaves the root in force that was there before.
func (r *replicas) garbage(t *testing.T) {
	before := r.one.read("ca/ca-cert.pem")
	secret := &caSecret{client: r.client(), name: "weft-ca", dir: r.one.c.caDir, trustDomain: "cluster.local"}
	for what, data := range map[string]string{
		"no PEM":                    "data: {ca-cert.pem: Z2FyYmFnZQ==}",
		"empty":                     `data: {ca-cert.pem: ""}`,
		"a key of somebody else's":  fmt.Sprintf("stringData: {ca-key.pem: %q}", otherKey(t)),
		"a certificate without one": `data: {ca-key.pem: ""}`,
	} {
		good := r.api.Get(secretYAML)
		r.api.Apply(secretYAML + data)
		if err := secret.mirror(t.Context(), true); err == nil {
			t.Errorf("%s: was taken", what)
		}
		if r.one.read("ca/ca-cert.pem") != before {
			t.Errorf("%s: the folder has changed", what)
		}
		restore(t, r, good)
	}
	if err := secret.mirror(t.Context(), true); err != nil {
		t.Errorf("the good one again: %v", err)
	}
}

func restore(t *testing.T, r *replicas, good *unstructured.Unstructured) {
	t.Helper()
	good = good.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp"} {
		unstructured.RemoveNestedField(good.Object, "metadata", field)
	}
	text, err := good.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	r.api.Apply(string(text))
}

func otherKey(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := ca.CreateRoot(dir, "cluster.local", time.Now()); err != nil {
		t.Fatal(err)
	}
	data, err := readFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return string(data["ca-key.pem"])
}

// apiGone: proxies are served while the API server is away, longer than the Lease lasts.
func (r *replicas) apiGone(t *testing.T, token string) {
	r.api.Stop()
	eventually(t, "nobody leads", func() bool { return !leads(r.one) && !leads(r.two) })
	r.bothServe(t, token)
	if r.one.page("/ready") == "" || r.two.page("/ready") == "" {
		t.Error("a controller is not ready although it serves")
	}
	r.api.Resume()
	r.api.WaitReady()
	eventually(t, "one leads again", func() bool { return leads(r.one) != leads(r.two) })
}

// writerEnds: the other goes on, and does not touch what is right.
func (r *replicas) writerEnds(t *testing.T) {
	p := func(name string) string { return fmt.Sprintf(policyYAML, name, "namespaces: [shop]") }
	r.api.Apply(p("before"))
	eventually(t, "the first one's status is written", func() bool { return r.condition(p("before"), "Accepted") != "no condition" })
	version := r.api.Get(p("before")).GetResourceVersion()
	stop, other := r.stop1, r.two
	if leads(r.two) {
		stop, other = r.stop2, r.one
	}
	stop()
	eventually(t, "the other leads", func() bool { return leads(other) })
	r.api.Apply(p("after"))
	eventually(t, "the other writes", func() bool { return r.condition(p("after"), "Accepted") != "no condition" })
	if now := r.api.Get(p("before")).GetResourceVersion(); now != version {
		t.Errorf("status that was right was written again: version %s, then %s", version, now)
	}
}

// unread: a policy that never was good has status, and is enforced by refusing; resources of a later release
// let such through.
func (r *replicas) unread(t *testing.T) {
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: peerauthentications.weft.dev}\n"
	r.api.Apply(crd + `spec:
  group: weft.dev
  scope: Namespaced
  names: {plural: peerauthentications, kind: PeerAuthentication}
  versions:
  - {name: v1alpha1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`)
	const later = `
apiVersion: weft.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: later, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: QUANTUM}}
`
	r.api.Apply(later)
	eventually(t, "it is told in its status", func() bool { return strings.HasPrefix(r.condition(later, "Accepted"), "False/") })
	eventually(t, "and by an Event", func() bool {
		return r.event("PeerAuthentication", "later", strings.TrimPrefix(r.condition(later, "Accepted"), "False/")) != ""
	})
	version := r.api.Get(later).GetResourceVersion()
	r.api.Apply(fmt.Sprintf(policyYAML, "next", "namespaces: [shop]"))
	eventually(t, "the next change is written", func() bool { return r.condition(fmt.Sprintf(policyYAML, "next", ""), "Accepted") != "no condition" })
	if now := r.api.Get(later).GetResourceVersion(); now != version {
		t.Error("its status is written again and again")
	}
}
