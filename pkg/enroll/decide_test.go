package enroll

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/pkg/api"
)

func namespaceObject(name, mode string) *corev1.Namespace {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if mode != "" {
		n.Labels = map[string]string{api.LabelMode: mode}
	}
	return n
}

func podObject(name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Labels: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "cart"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}}},
	}
	for _, e := range edits {
		e(p)
	}
	return p
}

func label(k, v string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Labels[k] = v } }

func container(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers = []corev1.Container{{Name: "app"}, {Name: name}} }
}

func annotation(k, v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{k: v} }
}

func TestDecide(t *testing.T) {
	deleting := func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }
	for _, c := range []struct {
		name   string
		mode   string // of the namespace; "-": it is not known
		edits  []func(*corev1.Pod)
		want   Verdict
		reason string
	}{
		{"no label anywhere", "", nil, Leave, "neither the pod nor its namespace"},
		{"namespace ambient", "ambient", nil, Enrol, "namespace is labelled"},
		{"namespace none", "none", nil, Leave, "namespace is labelled"},
		{"pod ambient", "", []func(*corev1.Pod){label(api.LabelMode, "ambient")}, Enrol, "pod is labelled"},
		{"pod ambient wins over namespace none", "none", []func(*corev1.Pod){label(api.LabelMode, "ambient")}, Enrol, "pod is labelled"},
		{"pod none wins", "ambient", []func(*corev1.Pod){label(api.LabelMode, "none")}, Leave, "pod is labelled"},
		{"pod's unknown value", "ambient", []func(*corev1.Pod){label(api.LabelMode, "Ambient")}, Leave, `"Ambient"`},
		{"namespace's unknown value", "sidecar", nil, Leave, `"sidecar"`},
		{"namespace unknown", "-", nil, Keep, "not known"},
		{"namespace unknown, pod ambient", "-", []func(*corev1.Pod){label(api.LabelMode, "ambient")}, Enrol, ""},
		{"host network", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Spec.HostNetwork = true }}, Leave, "host's network"},
		{"waypoint", "ambient", []func(*corev1.Pod){label(api.LabelGatewayName, "wp")}, Leave, "waypoint"},
		{"terminating", "ambient", []func(*corev1.Pod){deleting}, Keep, "being deleted"},
		{"terminating and not ours", "", []func(*corev1.Pod){deleting}, Leave, ""},
		{"pending", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }}, Enrol, ""},
		{"no address", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.PodIPs = nil }}, Keep, "no address"},
		{"only podIP", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.PodIPs = nil; p.Status.PodIP = "10.0.0.1" }}, Enrol, ""},
		{"bad address", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.PodIPs = []corev1.PodIP{{IP: "ten"}} }}, Keep, "no address"},
		{"succeeded", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }}, Leave, "ended"},
		{"the mesh's own", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Namespace = "weft-system" }}, Leave, "mesh itself"},
		{"a sidecar of another mesh", "ambient", []func(*corev1.Pod){container("istio-proxy")}, Keep, "Istio"},
		{"a native sidecar of another mesh", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Spec.InitContainers = []corev1.Container{{Name: "linkerd-proxy"}} }}, Keep, "Linkerd"},
		{"another ambient mesh", "ambient", []func(*corev1.Pod){annotation("ambient.istio.io/redirection", "enabled")}, Keep, "ambient mode"},
		{"another mesh's, not ours", "none", []func(*corev1.Pod){container("istio-proxy")}, Leave, "none"},
		{"not in the other mesh", "ambient", []func(*corev1.Pod){annotation("kuma.io/sidecar-injected", "false")}, Enrol, ""},
		{"failed", "ambient", []func(*corev1.Pod){func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }}, Leave, "ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := State{Pods: []*corev1.Pod{podObject("a", c.edits...)}}
			if c.mode != "-" {
				s.Namespaces = []*corev1.Namespace{namespaceObject("other", "ambient"), namespaceObject("shop", c.mode)}
			}
			got := Decide("n1", s)
			if len(got) != 1 || got[0].Verdict != c.want || !strings.Contains(got[0].Reason, c.reason) {
				t.Errorf("got %+v, want %d because of %q", got, c.want, c.reason)
			}
		})
	}
}

func TestDecideOnlyThisNode(t *testing.T) {
	s := State{
		Namespaces: []*corev1.Namespace{namespaceObject("shop", "ambient")},
		Pods: []*corev1.Pod{
			podObject("z"), podObject("elsewhere", func(p *corev1.Pod) { p.Spec.NodeName = "n2" }),
			podObject("b", func(p *corev1.Pod) { p.UID = ""; p.Spec.ServiceAccountName = "" }),
			podObject("copy", func(p *corev1.Pod) { p.UID = "uid-z" }),
			podObject("a", func(p *corev1.Pod) {
				p.Status.PodIPs = []corev1.PodIP{{IP: "::ffff:10.0.0.7"}, {IP: "10.0.0.8"}, {IP: "fd00::7"}, {IP: "127.0.0.1"}}
			}),
		},
	}
	var got []string
	for _, d := range Decide("n1", s) {
		got = append(got, fmt.Sprintf("%s %s %s %v", d.Pod.UID, d.Pod.Key(), d.Pod.ServiceAccount, d.Pod.Addresses))
	}
	want := "uid-a shop/a cart [10.0.0.7 fd00::7]|shop/b shop/b default [10.0.0.1 fd00::1]|uid-z shop/copy cart [10.0.0.1 fd00::1]"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
}

func TestNetnsPattern(t *testing.T) {
	for _, bad := range []string{"", "relative/{name}", "/run/netns/fixed"} {
		if _, err := NetnsPattern(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	f, err := NetnsPattern("/run/netns/weft-{namespace}-{name}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f(Pod{UID: "u", Namespace: "shop", Name: "a"}); got != "/run/netns/weft-shop-a" || err != nil {
		t.Error(got, err)
	}
	for _, p := range []Pod{{UID: "u", Namespace: "shop", Name: "../../proc/1/ns/net"}, {UID: "u", Namespace: "a/b", Name: "c"},
		{UID: "u", Namespace: "shop"}, {UID: "u/../..", Namespace: "shop", Name: "a"}, {UID: "u", Namespace: "..", Name: "a"}} {
		if got, err := f(p); err == nil {
			t.Errorf("%+v: %s", p, got)
		}
	}
	f, err = NetnsPattern("/run/pods/{uid}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f(Pod{UID: "shop/a", Namespace: "shop", Name: "a"}); got != "/run/pods/shop_a" || err != nil {
		t.Error(got, err)
	}
}
