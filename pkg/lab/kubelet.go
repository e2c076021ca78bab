package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// KubeletOptions are what a node's kubelet needs.
type KubeletOptions struct {
	Layout Layout
	Node   string            // its name
	Images map[string]string // image (without tag) to program
	BinDir string            // where weft.dev/… images' programs are
	Envoy  string            // program for waypoints, given to pods as WEFT_ENVOY; empty: there was none
	Self   string            // path of the program that has the hidden command "lab pod-init"
	Log    *zap.Logger       // nil: silent
}

// kubelet runs the pods of one node.
type kubelet struct {
	KubeletOptions
	net nodeNet

	mu     sync.Mutex // protects what follows
	wanted []*corev1.Pod
	pods   map[string]*podRuntime // by namespace/name
	next   int                    // host part of the next pod address
}

// RunKubelet runs the node's pods until the context ends, then stops them. The calling process must
// already be in the node's network namespace and in the kubelet's cgroup: its probes are told from other
// traffic by these two.
func RunKubelet(ctx context.Context, o KubeletOptions) error {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	n, err := o.Layout.nodeNet(o.Node)
	if err != nil {
		return err
	}
	k := &kubelet{KubeletOptions: o, net: n, pods: map[string]*podRuntime{}, next: 2}
	if err := k.clearLeftovers(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Layout.wantedDir(o.Node), 0o755); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	defer k.stopAll()
	return follow(ctx, []string{o.Layout.wantedDir(o.Node)}, o.Log, func(all objects, problems []source.Problem) {
		for _, p := range problems {
			o.Log.Error("cannot read a wanted pod", zap.String("problem", p.String()))
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.wanted = all.Pods
		k.sync(ctx)
	})
}

// clearLeftovers ends what an earlier kubelet of this node left: pods are started anew.
func (k *kubelet) clearLeftovers() error {
	if err := killCgroup(k.Layout.Cgroup(k.Node, "pods")); err != nil {
		return fmt.Errorf("end leftovers of an earlier kubelet: %w", err)
	}
	left, _ := look(k.Layout.podsDir())
	for _, p := range left.Pods {
		if p.Spec.NodeName != k.Node {
			continue
		}
		net := podNet{netns: k.Layout.PodNS(p.Namespace, p.Name), nodeNS: k.Layout.NodeNS(k.Node)}
		if err := net.remove(); err != nil {
			return err
		}
		_ = os.Remove(objectFile(k.Layout.podsDir(), p.Namespace, p.Name))
	}
	return nil
}

// sync compares what is wanted with what runs. The lock is held.
func (k *kubelet) sync(ctx context.Context) {
	keep := map[string]bool{}
	for _, p := range k.wanted {
		key := p.Namespace + "/" + p.Name
		keep[key] = true
		if old := k.pods[key]; old != nil {
			if old.pod.UID == p.UID {
				continue
			}
			old.stop() // another pod of this name: it starts when the old one is gone
			continue
		}
		k.begin(ctx, key, p)
	}
	for key, r := range k.pods {
		if !keep[key] {
			r.stop()
		}
	}
}

// begin starts a pod's own goroutine. The lock is held.
func (k *kubelet) begin(ctx context.Context, key string, p *corev1.Pod) {
	v4, v6, err := k.allocate()
	if err != nil {
		k.Log.Error("no address for pod", zap.String("pod", key), zap.Error(err))
		return
	}
	r := newPodRuntime(k, p, podNet{
		netns: k.Layout.PodNS(p.Namespace, p.Name), nodeNS: k.Layout.NodeNS(k.Node), ip4: v4, ip6: v6, node: k.net,
	})
	k.pods[key] = r
	go func() {
		r.run(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.pods, key)
		if ctx.Err() == nil {
			k.sync(ctx) // a pod of the same name may be waiting
		}
	}()
}

// allocate takes the next free address pair. Addresses go round, so that one is not used again soon.
func (k *kubelet) allocate() (v4, v6 netip.Addr, err error) {
	used := map[netip.Addr]bool{}
	for _, r := range k.pods {
		used[r.net.ip4] = true
	}
	for range 253 {
		v4, v6 = k.net.pod(k.next)
		if k.next++; k.next > 254 {
			k.next = 2
		}
		if !used[v4] {
			return v4, v6, nil
		}
	}
	return v4, v6, fmt.Errorf("all 253 addresses of %s are in use", k.net.pods4)
}

// stopAll ends every pod and waits for them.
func (k *kubelet) stopAll() {
	k.mu.Lock()
	var all []*podRuntime
	for _, r := range k.pods {
		r.stop()
		all = append(all, r)
	}
	k.mu.Unlock()
	for _, r := range all {
		<-r.gone
	}
}
