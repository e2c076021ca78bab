package checks

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/charts"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/enroll"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func namespace(name string, labels ...string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: pairs(labels)}}
}

func pairs(kv []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func pod(ns, name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
	p.Status.Phase = corev1.PodRunning
	if change != nil {
		change(p)
	}
	return p
}

func captured(p *corev1.Pod) { p.Annotations[api.AnnotationRedirection] = api.RedirectionEnabled }

func node(name, kernel string, taints ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.NodeInfo.OperatingSystem, n.Status.NodeInfo.KernelVersion = "linux", kernel
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	for _, key := range taints {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key})
	}
	return n
}

// well is a cluster on which everything is as it should be.
func well(t *testing.T) *Facts {
	t.Helper()
	f := &Facts{
		Now: now, Version: &version.Info{GitVersion: "v1.36.3+k3s1"}, Errors: map[string]error{}, Silent: map[string]error{}, Settings: map[string]map[string]string{},
		Namespaces:   []*corev1.Namespace{namespace("shop", api.LabelMode, api.ModeAmbient), namespace("other", "app", "x")},
		Pods:         []*corev1.Pod{pod("shop", "a", captured), pod("other", "b", nil)},
		Nodes:        []*corev1.Node{node("n1", "6.6.0-generic")},
		CRDs:         map[string]*unstructured.Unstructured{},
		Versions:     map[string]string{"agent/n1": "v1", "ztunnel/n1": "v1"},
		Kernels:      map[string][]Feature{"n1": {{Name: "tcx", Have: true, Required: true}}},
		Certificates: map[string][]ca.Status{"n1": {{NotAfter: now.Add(time.Hour)}}},
		Root:         testRoot(t, now.Add(365*24*time.Hour)),
	}
	for _, crd := range gatewayCRDs {
		f.CRDs[crd] = gatewayCRD("v1.6.3")
	}
	for _, plural := range []string{"authorizationpolicies", "faults", "peerauthentications"} {
		data, err := charts.Weft.ReadFile("weft/files/crds/weft.dev_" + plural + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(data, &u.Object); err != nil {
			t.Fatal(err)
		}
		f.CRDs[plural+".weft.dev"] = u
	}
	two, holder := int32(2), "weft-controller-1"
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: cluster.Controller}, Spec: appsv1.DeploymentSpec{Replicas: &two}}
	d.Status.ReadyReplicas = 2
	f.Deployments = []*appsv1.Deployment{d}
	for _, name := range []string{cluster.Agent, cluster.Ztunnel} {
		f.DaemonSets = append(f.DaemonSets, daemon(api.SystemNamespace, name))
	}
	f.Lease = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, RenewTime: &metav1.MicroTime{Time: now}}}
	return f
}

func daemon(ns, name string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 1, NumberReady: 1}}
}

func gatewayCRD(version string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"annotations": map[string]any{"gateway.networking.k8s.io/bundle-version": version}}}}
}

func TestAllIsWell(t *testing.T) {
	for _, groups := range [][]Group{Preflight, Installed} {
		for _, r := range Judge(well(t), groups) {
			if r.Level != OK {
				t.Errorf("%s: %s is %s: %s", r.Group, r.Name, r.Level, r.Detail)
			}
		}
	}
}

// What is made wrong is found, in its group, with a hint, and nothing else is complained of.
func TestFindings(t *testing.T) {
	tcp, port := corev1.ProtocolTCP, intstr.FromInt32(8080)
	tests := []struct {
		name  string
		spoil func(*Facts)
		group string
		level Level
		says  string // in detail or hint
	}{
		{"old Kubernetes", func(f *Facts) { f.Version.GitVersion = "v1.28.4" }, "kubernetes", Failed, "v1.28.4"},
		{"rights", func(f *Facts) { f.Denied = []string{"create namespaces"} }, "rights", Failed, "create namespaces"},
		{"no Gateway API", func(f *Facts) { clear(f.CRDs) }, "gateway api", Warning, "kubectl apply"},
		{"half a Gateway API", func(f *Facts) { delete(f.CRDs, gatewayCRDs[3]) }, "gateway api", Failed, "grpcroutes"},
		{"old Gateway API", func(f *Facts) {
			for _, c := range gatewayCRDs {
				f.CRDs[c] = gatewayCRD("v1.0.0")
			}
		}, "gateway api", Failed, "v1.0.0"},
		{"old kernel", func(f *Facts) { f.Nodes = append(f.Nodes, node("n2", "5.15.0-100")) }, "nodes", Failed, "n2 (5.15.0-100)"},
		{"windows", func(f *Facts) { f.Nodes[0].Status.NodeInfo.OperatingSystem = "windows" }, "nodes", Warning, "n1"},
		{"node down", func(f *Facts) { f.Nodes[0].Status.Conditions[0].Status = corev1.ConditionFalse }, "nodes", Warning, "describe node n1"},
		{"Cilium takes all", func(f *Facts) { f.Settings["kube-system/cilium-config"] = map[string]string{"cni-exclusive": "true"} }, "network plugin", Failed, "cni.exclusive=false"},
		{"Cilium resolves services", func(f *Facts) {
			f.Settings["kube-system/cilium-config"] = map[string]string{"cni-exclusive": "false", "kube-proxy-replacement": "true"}
		}, "network plugin", Failed, "socketLB.hostNamespaceOnly=true"},
		{"two Wefts", func(f *Facts) {
			f.Deployments = append(f.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "mesh", Name: cluster.Controller}})
		}, "other meshes", Failed, "helm uninstall weft -n mesh"},
		{"Istio beside", func(f *Facts) {
			f.Deployments = append(f.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"}})
		}, "other meshes", Warning, "Istio"},
		{"Istio in the same namespace", func(f *Facts) {
			f.DaemonSets = append(f.DaemonSets, daemon("istio-system", "ztunnel"))
			f.Namespaces[0].Labels["istio-injection"] = "enabled"
		}, "other meshes", Failed, "enroll shop --remove"},
		{"Linkerd in the same namespace", func(f *Facts) {
			f.Deployments = append(f.Deployments, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "linkerd", Name: "linkerd-destination"}})
			f.Namespaces[0].Annotations = map[string]string{"linkerd.io/inject": "enabled"}
		}, "other meshes", Failed, "linkerd.io/inject-"},
		{"Cilium's ztunnel", func(f *Facts) {
			f.Settings["kube-system/cilium-config"] = map[string]string{"cni-exclusive": "false", "enable-ztunnel": "true"}
		}, "other meshes", Failed, "enable-ztunnel"},
		{"kinds missing", func(f *Facts) { delete(f.CRDs, "faults.weft.dev") }, "resources", Failed, "faults"},
		{"kinds of another version", func(f *Facts) {
			_ = unstructured.SetNestedSlice(f.CRDs["faults.weft.dev"].Object, []any{map[string]any{"name": "v1alpha1"}}, "spec", "versions")
		}, "resources", Warning, "faults"},
		{"no controller", func(f *Facts) { f.Deployments = nil }, "controller", Failed, "weftctl install"},
		{"one replica of two", func(f *Facts) { f.Deployments[0].Status.ReadyReplicas = 1 }, "controller", Warning, "1 of 2"},
		{"nobody leads", func(f *Facts) { f.Lease.Spec.RenewTime.Time = now.Add(-5 * time.Minute) }, "controller", Warning, "5m0s ago"},
		{"ztunnel not ready", func(f *Facts) { f.DaemonSets[1].Status.NumberReady = 0 }, "agents and ztunnels", Failed, "0 of 1"},
		{"tainted node", func(f *Facts) { f.Nodes[0].Spec.Taints = []corev1.Taint{{Key: "weft.dev/agent-not-ready"}} }, "agents and ztunnels", Warning, "logs agent/n1"},
		{"two versions", func(f *Facts) { f.Versions["ztunnel/n1"] = "v2" }, "agents and ztunnels", Warning, "v2: ztunnel/n1"},
		{"a program is silent", func(f *Facts) { f.Silent["agent/n1"] = errors.New("no route") }, "agents and ztunnels", Warning, "no route"},
		{"kernel lacks", func(f *Facts) { f.Kernels["n1"][0].Have = false }, "kernels", Failed, "n1 lacks tcx"},
		{"root runs out", func(f *Facts) {
			f.Now = now.Add(350 * 24 * time.Hour)
			f.Lease.Spec.RenewTime.Time = f.Now
			clear(f.Certificates)
		}, "certificates", Warning, "docs/operate.md"},
		{"renewal fails", func(f *Facts) { f.Certificates["n1"][0].Error = "refused" }, "certificates", Failed, "refused"},
		{"certificate over", func(f *Facts) { f.Certificates["n1"][0].NotAfter = now.Add(-time.Minute) }, "certificates", Failed, "ran out 1m0s ago"},
		{"not captured", func(f *Facts) {
			f.Pods = append(f.Pods, pod("shop", "late", nil))
			f.Captured = map[string][]enroll.View{"n1": {{Pod: enroll.Pod{Namespace: "shop", Name: "late"}, Error: "no veth"}}}
		}, "enrolment", Failed, "shop/late: no veth"},
		{"host network", func(f *Facts) {
			f.Pods = append(f.Pods, pod("shop", "h", func(p *corev1.Pod) { p.Spec.HostNetwork = true }))
		}, "enrolment", Warning, "shop/h"},
		{"NET_ADMIN", func(f *Facts) {
			f.Pods = append(f.Pods, pod("shop", "strong", func(p *corev1.Pod) {
				captured(p)
				p.Spec.Containers = []corev1.Container{{SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}}}}
			}))
		}, "enrolment", Warning, "shop/strong (NET_ADMIN)"},
		{"object refused", func(f *Facts) {
			f.Problems = []Problem{{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "p", Conditions: []metav1.Condition{{Type: "Accepted", Status: "False", Message: "no such port"}}}}
		}, "configuration", Warning, "no such port"},
		{"NetworkPolicy", func(f *Facts) {
			f.Policies = []*networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "only-8080"},
				Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port}}}}}}}
		}, "network policies", Warning, "shop/only-8080"},
		{"nothing may be read", func(f *Facts) { f.Errors["nodes"] = errors.New("forbidden") }, "nodes", Warning, "forbidden"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			f := well(t)
			tc.spoil(f)
			groups := Installed
			if tc.group == "rights" || tc.name == "no Gateway API" {
				groups = Preflight
			}
			found := false
			for _, r := range Judge(f, groups) {
				switch {
				case r.Level == OK:
				case r.Group == tc.group && r.Level == tc.level && strings.Contains(r.Detail+r.Hint, tc.says):
					found = true
					if r.Hint == "" {
						t.Errorf("no hint with %q", r.Detail)
					}
				default:
					t.Errorf("also complains: %s: %s %s: %s", r.Group, r.Level, r.Name, r.Detail)
				}
			}
			if !found {
				t.Errorf("not found in group %s: %q", tc.group, tc.says)
			}
		})
	}
}

func TestUnreachableSaysOnlyThat(t *testing.T) {
	results := Judge(&Facts{Unreachable: errors.New("connection refused")}, Installed)
	if len(results) != 1 || results[0].Level != Failed || Worst(results) != Failed {
		t.Errorf("%+v", results)
	}
}
