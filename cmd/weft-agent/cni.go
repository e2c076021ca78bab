package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/source"
)

// informed is how long a starting pod is waited for in what is watched, before the API server is asked for it.
const informed = time.Second

// starter captures pods before their first container starts: what weft-cni waits for.
type starter struct {
	client typedcorev1.CoreV1Interface
	watch  *watcher
	recon  *enroll.Reconciler
	finder *enroll.Finder
	direct bool                     // pods may talk directly where their namespaces do not say
	forget func([]netip.Addr) error // takes addresses off the direct path; nil: there is none
	refuse error                    // why no pod can be captured on this node; nil: they can
	log    *zap.Logger

	sandboxes sandboxes
}

// Add implements cni.Handler.
func (s *starter) Add(ctx context.Context, p cni.Pod) error {
	if s.watch.leaving.Load() {
		return nil // no pod is the mesh's any more
	}
	if s.forget != nil {
		if err := s.forget(p.Addresses); err != nil { // the plugin has done so, if it could
			return fmt.Errorf("pod %s: %w", p.Key(), err)
		}
	}
	pod, ns, err := s.lookup(ctx, p)
	if err != nil {
		return err
	}
	d := enroll.DecideStarting(pod, ns, p.Addresses)
	switch {
	case d.Verdict == enroll.Leave:
		return nil
	case d.Verdict == enroll.Keep && pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted", p.Key())
	case d.Verdict == enroll.Keep && d.Trouble:
		return fmt.Errorf("pod %s cannot be captured: it %s", p.Key(), d.Reason)
	case d.Verdict == enroll.Keep:
		return fmt.Errorf("pod %s cannot be captured: it %s (do the CNI plugins before weft-cni give it an address?)", p.Key(), d.Reason)
	}
	if s.refuse != nil {
		return fmt.Errorf("pod %s: %s", p.Key(), refusal(s.refuse))
	}
	network, err := netns.Open(p.Netns)
	if err != nil {
		return fmt.Errorf("pod %s: %w", p.Key(), err)
	}
	defer network.Close()
	d.Pod.Direct = enroll.Direct(ns, s.direct)
	d.Pod.HandOver = d.Pod.Direct && s.watch.handOver != nil && s.watch.handOver(pod)
	if err := s.finder.Starting(d.Pod.UID, network); err != nil {
		return fmt.Errorf("pod %s: %w", p.Key(), err)
	}
	s.sandboxes.made(d.Pod.UID, p.ContainerID)
	return s.recon.Start(ctx, d.Pod, network.Cookie(), d.Reason)
}

// Del implements cni.Handler. Runtimes say it again for a former sandbox while a new one runs.
func (s *starter) Del(_ context.Context, p cni.Pod) error {
	if s.refuse != nil {
		return nil
	}
	if uid, ok := s.sandboxes.gone(p.ContainerID); ok {
		s.finder.Started(uid)
		s.recon.Stop(uid)
	}
	return nil
}

// Check implements cni.Handler.
func (s *starter) Check(ctx context.Context, p cni.Pod) error {
	pod, ns, err := s.lookup(ctx, p)
	if err != nil {
		return err
	}
	d := enroll.DecideStarting(pod, ns, p.Addresses)
	if d.Verdict != enroll.Enrol || s.refuse != nil {
		return nil
	}
	for _, v := range s.recon.Views() {
		if v.UID == d.Pod.UID && v.State == enroll.StateEnrolled {
			return nil
		}
	}
	return fmt.Errorf("pod %s is to be in the mesh and is not captured", p.Key())
}

// lookup finds the objects: in what is watched, and if they do not show up there, at the server.
func (s *starter) lookup(ctx context.Context, p cni.Pod) (*corev1.Pod, *corev1.Namespace, error) {
	patience := time.NewTimer(informed)
	defer patience.Stop()
	for {
		o, next := s.watch.seen()
		pod, ns := podNamed(o, p), namespaceOf(o, p.Namespace)
		if pod != nil && ns != nil {
			return pod, ns, nil
		}
		select {
		case <-next:
		case <-patience.C:
			return s.ask(ctx, p)
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("pod %s is not known to the agent (can it read pods from the API server?)", p.Key())
		}
	}
}

// ask reads the objects from the API server.
func (s *starter) ask(ctx context.Context, p cni.Pod) (*corev1.Pod, *corev1.Namespace, error) {
	pod, err := s.client.Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
	if err == nil && !isPod(pod, p) {
		err = fmt.Errorf("the API server knows another pod of this name (UID %s, wanted %s)", pod.UID, p.UID)
	}
	var ns *corev1.Namespace
	if err == nil {
		ns, err = s.client.Namespaces().Get(ctx, p.Namespace, metav1.GetOptions{})
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil, fmt.Errorf("pod %s: %w (was it deleted meanwhile?)", p.Key(), err)
	case err != nil:
		return nil, nil, fmt.Errorf("whether pod %s is to be in the mesh cannot be found out: %w (does the agent reach the API server?)", p.Key(), err)
	}
	return pod, ns, nil
}

func podNamed(o *source.Objects, p cni.Pod) *corev1.Pod {
	for _, x := range o.Pods {
		if x.Value.Namespace == p.Namespace && x.Value.Name == p.Name && isPod(x.Value, p) {
			return x.Value
		}
	}
	return nil
}

// isPod tells whether the object is the runtime's pod. A static pod goes by another UID there.
func isPod(o *corev1.Pod, p cni.Pod) bool {
	return p.UID == "" || string(o.UID) == p.UID || o.Annotations[corev1.MirrorPodAnnotationKey] == p.UID
}

// serveCNI answers weft-cni once the pods are known.
func (a *agent) serveCNI(ctx context.Context) error {
	select {
	case <-a.watch.known:
	case <-ctx.Done():
		return nil
	}
	s := &cni.Server{Path: a.c.cniSocket, Handler: a.starter, Log: a.log.Named("cni"), Done: a.cniDone}
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("--cni-socket: %w", err)
	}
	return nil
}
