package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/weftmesh/weft/pkg/api"
)

func pod(namespace, name, account, node string, ready bool, labels map[string]string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	p.Spec.ServiceAccountName, p.Spec.NodeName = account, node
	p.Status.Phase = corev1.PodRunning
	if ready {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	return p
}

func TestPrograms(t *testing.T) {
	ended := pod(api.SystemNamespace, "old", Agent, "n1", false, nil)
	ended.Status.Phase = corev1.PodFailed
	holder := "c2_abc"
	c := &Cluster{Name: "test", Client: fake.NewClientset(
		pod(api.SystemNamespace, "c1", Controller, "n1", true, nil), pod(api.SystemNamespace, "c2", Controller, "n2", false, nil),
		pod(api.SystemNamespace, "a", Agent, "n1", true, nil), pod(api.SystemNamespace, "z", Ztunnel, "n1", true, nil), ended,
		pod(api.SystemNamespace, "other", "default", "n1", true, nil), pod("shop", "weft", Agent, "n1", true, nil),
		pod("shop", "gate-1", "gate", "n1", true, map[string]string{api.LabelGatewayName: "gate"}),
	)}
	all, err := c.Programs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range all {
		names = append(names, p.Name())
	}
	if want := []string{"agent/n1", "controller/c1", "controller/c2", "waypoint/shop/gate-1", "ztunnel/n1"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
	if l := c.Leader(t.Context(), all); l == nil || l.Pod != "c1" {
		t.Errorf("without a Lease: %+v, want the one that is ready", l)
	}
	_, err = c.Client.CoordinationV1().Leases(api.SystemNamespace).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: Controller, Namespace: api.SystemNamespace}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Leader(t.Context(), all); l == nil || l.Pod != "c2" {
		t.Errorf("%+v, want the Lease's", l)
	}
	if l := c.Leader(t.Context(), nil); l != nil {
		t.Errorf("%+v of nobody", l)
	}
}

func TestTrouble(t *testing.T) {
	status := func(s corev1.ContainerState) *Program {
		p := pod("x", "y", Agent, "n1", false, nil)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: s}}
		return program(Agent, p)
	}
	tests := map[string]*Program{
		"":                 program(Agent, pod("x", "y", Agent, "n1", true, nil)),
		"CrashLoopBackOff": status(corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}),
		"exited with 3":    status(corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}}),
		"not ready":        status(corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}),
	}
	for want, p := range tests {
		if got := p.Trouble(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	c := &Cluster{Name: "prod"}
	pods := schema.GroupResource{Resource: "pods"}
	for want, err := range map[string]error{
		"lacks this right on prod": apierrors.NewForbidden(pods, "", errors.New("no")),
		"log in again":             apierrors.NewUnauthorized("no"),
		"does it run":              errors.New("connection refused"),
	} {
		if got := c.Explain(err); !strings.Contains(got.Error(), want) || !errors.Is(got, err) {
			t.Errorf("%v, want it to say %q", got, want)
		}
	}
	gone := apierrors.NewNotFound(pods, "x")
	if got := c.Explain(gone); got.Error() != gone.Error() {
		t.Errorf("%v, want nothing added", got)
	}
}
