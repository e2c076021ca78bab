package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// Packets are handed to pods that no NetworkPolicy selects, once all policies and their kinds are known.
func TestHanding(t *testing.T) {
	policy := func(ns string, s metav1.LabelSelector) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "p"}, Spec: networkingv1.NetworkPolicySpec{PodSelector: s}}
	}
	web := metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	broken := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: "Maybe"}}}
	for _, c := range []struct {
		name     string
		foreign  string
		policies []any // nil: not known
		want     bool
	}{
		{"policies are not known", "", nil, false},
		{"kinds are not known", unknown, []any{}, false},
		{"none", "", []any{}, true},
		{"selects it", "", []any{policy("shop", web)}, false},
		{"selects all", "", []any{policy("shop", metav1.LabelSelector{})}, false},
		{"selects others", "", []any{policy("shop", metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}})}, true},
		{"of another namespace", "", []any{policy("bank", web)}, true},
		{"not understood", "", []any{policy("shop", broken)}, false},
		{"policies of another kind", "cilium.io", []any{}, false},
	} {
		told := 0
		h := newHanding(nil, func() { told++ }, zap.NewNop())
		h.foreign = c.foreign
		if c.policies != nil {
			if h.set(c.policies); told != 1 {
				t.Errorf("%s: told %d times", c.name, told)
			}
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Labels: map[string]string{"app": "web"}}}
		if got := h.may(pod); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// NetworkPolicies are followed however long the API server takes to say which kinds there are; and it is asked again.
func TestHandingDoesNotWait(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	client := fake.NewClientset()
	client.PrependReactor("get", "group", func(clienttesting.Action) (bool, runtime.Object, error) {
		if asked.Add(1) > 1 {
			return false, nil, nil
		}
		<-release
		return true, nil, errors.New("not now")
	})
	ctx, stop := context.WithCancel(t.Context())
	h, over := newHanding(client, func() {}, zap.NewNop()), make(chan error, 1)
	go func() { over <- h.run(ctx) }()
	locked := func(is func() bool) func() bool {
		return func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return is()
		}
	}
	eventually(t, "policies to be known while the API server is asked for kinds", locked(func() bool { return h.policies != nil && asked.Load() > 0 }))
	if h.may(&corev1.Pod{}) {
		t.Error("packets are handed while kinds are not known")
	}
	close(release)
	eventually(t, "kinds to be known", locked(func() bool { return h.foreign == "" }))
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
