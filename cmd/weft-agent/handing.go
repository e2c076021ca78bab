package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Values of --same-node-hand-over.
const (
	handNever      = "never"
	handUnselected = "unselected"
	handAlways     = "always"
)

// foreignPolicies are API groups of network policies whose meaning is their maker's to know. Where a cluster has one,
// nothing tells which pods it selects.
var foreignPolicies = []string{"policy.networking.k8s.io", "cilium.io", "crd.projectcalico.org", "projectcalico.org",
	"crd.antrea.io", "k8s.ovn.org", "kubeovn.io", "security.antrea.io"}

// unknown is no API group.
const unknown = "?"

// groupsEvery is how often it is asked which of them there are, and groupsRetry while that is not known.
const (
	groupsEvery = 30 * time.Second
	groupsRetry = time.Second
)

// handing knows to which pods packets of direct connections may be handed past the node's firewall: to those that no
// NetworkPolicy selects, for incoming or outgoing traffic. While that is not known, to none.
type handing struct {
	client  kubernetes.Interface
	changed func()
	log     *zap.Logger

	mu       sync.Mutex                   // protects what follows
	policies map[string][]labels.Selector // of a namespace; nil: not known yet
	foreign  string                       // API group of other policies; or unknown
}

func newHanding(client kubernetes.Interface, changed func(), log *zap.Logger) *handing {
	return &handing{client: client, changed: changed, log: log, foreign: unknown}
}

// may tells whether packets may be handed to and from a pod.
func (h *handing) may(p *corev1.Pod) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.policies != nil && h.foreign == "" &&
		!slices.ContainsFunc(h.policies[p.Namespace], func(s labels.Selector) bool { return s.Matches(labels.Set(p.Labels)) })
}

// run follows the NetworkPolicies of the cluster, and which other kinds it has.
func (h *handing) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(h.client, 0)
	informer := factory.Networking().V1().NetworkPolicies().Informer()
	changed := make(chan struct{}, 1)
	look := func() {
		select {
		case changed <- struct{}{}:
		default: // one is to be looked at already
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { look() }, UpdateFunc: func(any, any) { look() }, DeleteFunc: func(any) { look() },
	})
	if err != nil {
		return fmt.Errorf("follow NetworkPolicies: %w", err)
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil // told to end
	}
	look()
	go h.askOften(ctx) // not waited for: an API server may take its time to answer
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			h.set(informer.GetStore().List())
		}
	}
}

func (h *handing) set(list []any) {
	policies := map[string][]labels.Selector{}
	for _, o := range list {
		p, ok := o.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil { // the API server lets none through
			h.log.Warn("a NetworkPolicy cannot be understood: it is taken to select every pod of its namespace",
				zap.String("policy", p.Namespace+"/"+p.Name), zap.Error(err))
			s = labels.Everything()
		}
		policies[p.Namespace] = append(policies[p.Namespace], s)
	}
	h.mu.Lock()
	h.policies = policies
	h.mu.Unlock()
	h.changed()
}

// askOften asks until ctx ends.
func (h *handing) askOften(ctx context.Context) {
	for {
		wait := groupsEvery
		if !h.ask() {
			wait = groupsRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ask finds out which kinds of policy there are, and reports that this is known; what was known stays so while the API
// server does not answer.
func (h *handing) ask() (known bool) {
	groups, err := h.client.Discovery().ServerGroups()
	if err != nil {
		h.log.Warn("which kinds of network policy the cluster has cannot be found out", zap.Error(err))
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.foreign != unknown
	}
	foreign := ""
	for _, g := range groups.Groups {
		if slices.Contains(foreignPolicies, g.Name) {
			foreign = g.Name
		}
	}
	h.mu.Lock()
	changed := h.foreign != foreign
	h.foreign = foreign
	h.mu.Unlock()
	if !changed {
		return true
	}
	if foreign != "" {
		h.log.Warn("the cluster has network policies of a kind that only its network plugin understands: packets between pods of this node are forwarded, not handed over", zap.String("apiGroup", foreign))
	}
	h.changed()
	return true
}
