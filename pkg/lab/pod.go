package lab

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// annotationHold on a pod makes the kubelet wait with its containers until the mesh has captured it.
const annotationHold = "weft.dev/lab-hold"

// podRuntime runs one pod from its network to its end.
//
//	network → status Pending → (held until captured, when the mesh wants it) → containers → … → stop → removed
type podRuntime struct {
	k    *kubelet
	pod  *corev1.Pod // as wanted; not changed
	net  podNet
	log  *zap.Logger
	quit chan struct{} // closed by stop
	once sync.Once
	gone chan struct{} // closed when nothing of the pod is left

	mu         sync.Mutex // protects the fields below
	started    metav1.Time
	deleted    *metav1.Time
	containers []*container
}

func newPodRuntime(k *kubelet, p *corev1.Pod, net podNet) *podRuntime {
	r := &podRuntime{
		k: k, pod: p, net: net, log: k.Log.With(zap.String("pod", p.Namespace+"/"+p.Name)),
		quit: make(chan struct{}), gone: make(chan struct{}), started: metav1.Now(),
	}
	for i := range p.Spec.Containers {
		r.containers = append(r.containers, newContainer(r, &p.Spec.Containers[i]))
	}
	return r
}

// stop asks the pod to end; it returns at once.
func (r *podRuntime) stop() { r.once.Do(func() { close(r.quit) }) }

// run returns when the pod and everything of it is gone.
func (r *podRuntime) run(ctx context.Context) {
	defer close(r.gone)
	if err := r.raise(); err != nil {
		r.log.Error("cannot set up the pod; trying again in 1 s", zap.Error(err))
		_ = r.net.remove()
		r.pause(ctx, time.Second)
		return
	}
	r.log.Info("pod set up", zap.String("ip", r.net.ip4.String()))
	r.publish()
	r.hold(ctx)
	work, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, c := range r.containers {
		wg.Go(func() { c.run(work) })
	}
	select {
	case <-r.quit:
	case <-ctx.Done():
	}
	r.mu.Lock()
	now := metav1.Now()
	r.deleted = &now
	r.mu.Unlock()
	r.publish() // endpoints go before processes do
	r.linger(ctx)
	cancel()
	wg.Wait()
	r.remove()
}

func (r *podRuntime) raise() error {
	if err := r.net.raise(); err != nil {
		return err
	}
	return errors.Join(r.forgetAnnouncement(), r.prepareFiles())
}

// hold keeps the containers of a pod that is to be enrolled from starting before it is captured, as the
// chained CNI plugin does in a cluster: not a packet leaves in clear text. It gives up waiting after 30 s
// and says so; a pod that is not captured then is reached in plaintext, or not at all, by policy.
func (r *podRuntime) hold(ctx context.Context) {
	if r.pod.Annotations[annotationHold] == "" {
		return
	}
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if Enrolled(r.k.Layout, r.pod) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			r.log.Warn("not captured by the mesh after 30 s, starting anyway: look at this node's agent and ztunnel")
			return
		case <-r.quit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// linger leaves everyone time to hear that the pod is going, before it refuses connections. A lab that goes
// down does not wait.
func (r *podRuntime) linger(ctx context.Context) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}

func (r *podRuntime) remove() {
	err := errors.Join(
		killCgroup(r.cgroup()), removeCgroup(r.cgroup()), r.net.remove(),
		ignoreMissing(os.Remove(objectFile(r.k.Layout.podsDir(), r.pod.Namespace, r.pod.Name))),
		os.RemoveAll(r.k.Layout.podDir(r.pod.Namespace, r.pod.Name)),
	)
	if err != nil {
		r.log.Error("cannot remove everything of the pod", zap.Error(err))
		return
	}
	r.log.Info("pod removed")
}

func (r *podRuntime) cgroup() string {
	return r.k.Layout.podCgroup(r.k.Node, r.pod.Namespace, r.pod.Name)
}

func (r *podRuntime) pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.quit:
	case <-ctx.Done():
	}
}

// publish writes the Pod object with its present status.
func (r *podRuntime) publish() {
	p := r.pod.DeepCopy()
	r.mu.Lock()
	defer r.mu.Unlock() // held while writing: a newer status is never overwritten by an older one
	p.DeletionTimestamp = r.deleted
	p.Status = r.status()
	if err := writeObject(objectFile(r.k.Layout.podsDir(), p.Namespace, p.Name), p); err != nil {
		r.log.Error("cannot write the pod's status", zap.Error(err))
	}
}

// status is the pod's status now. The lock is held.
func (r *podRuntime) status() corev1.PodStatus {
	s := corev1.PodStatus{
		Phase: corev1.PodPending, StartTime: &r.started,
		HostIP: r.net.node.ip4.String(), HostIPs: []corev1.HostIP{{IP: r.net.node.ip4.String()}, {IP: r.net.node.ip6.String()}},
		PodIP: r.net.ip4.String(), PodIPs: []corev1.PodIP{{IP: r.net.ip4.String()}, {IP: r.net.ip6.String()}},
	}
	ready := r.deleted == nil
	for _, c := range r.containers {
		cs := c.status()
		ready = ready && cs.Ready
		if cs.State.Running != nil {
			s.Phase = corev1.PodRunning
		}
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
	}
	condition := func(t corev1.PodConditionType, ok bool) corev1.PodCondition {
		status := corev1.ConditionFalse
		if ok {
			status = corev1.ConditionTrue
		}
		return corev1.PodCondition{Type: t, Status: status}
	}
	s.Conditions = []corev1.PodCondition{
		condition(corev1.PodScheduled, true), condition(corev1.PodInitialized, true),
		condition(corev1.ContainersReady, ready), condition(corev1.PodReady, ready),
	}
	return s
}
