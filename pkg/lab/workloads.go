package lab

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// annotationNode on a pod pins it to a node of the lab, where a cluster would need a nodeSelector.
const annotationNode = "weft.dev/lab-node"

// labelHash tells the pods of two versions of a Deployment's template apart.
const labelHash = "pod-template-hash"

// templateHash changes whenever the template does.
func templateHash(d *appsv1.Deployment) string {
	data, err := json.Marshal(d.Spec.Template)
	if err != nil {
		panic(fmt.Sprintf("a decoded template marshals: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:5])
}

// plan is the Deployment controller and the scheduler in one pure step: from what is asked for, and the
// pods that are wanted now, to the pods that are wanted next. ready says whether a wanted pod runs well.
//
// A changed template rolls: one pod of the new version more than asked for is made at a time, and an old
// one goes when a new one is ready, so the number of ready pods never falls below the replicas.
func plan(asked objects, wanted []*corev1.Pod, ready func(*corev1.Pod) bool, nodes []string) []*corev1.Pod {
	var next []*corev1.Pod
	for _, p := range asked.Pods {
		if old := find(wanted, p.Namespace, p.Name); old != nil {
			next = append(next, old)
		} else {
			next = append(next, barePod(p))
		}
	}
	deployments := append([]*appsv1.Deployment(nil), asked.Deployments...)
	sortByName(deployments)
	for _, d := range deployments {
		next = append(next, roll(d, owned(d, wanted), ready)...)
	}
	schedule(next, nodes)
	return next
}

// roll decides the pods of one Deployment.
func roll(d *appsv1.Deployment, have []*corev1.Pod, ready func(*corev1.Pod) bool) []*corev1.Pod {
	replicas := 1
	if d.Spec.Replicas != nil {
		replicas = int(*d.Spec.Replicas)
	}
	hash := templateHash(d)
	var current, old []*corev1.Pod
	readyNow := 0
	for _, p := range have {
		if p.Labels[labelHash] == hash {
			current = append(current, p)
		} else {
			old = append(old, p)
		}
		if ready(p) {
			readyNow++
		}
	}
	if len(current) > replicas {
		current = current[:replicas]
	}
	for len(current) < replicas && (len(current)+len(old) <= replicas) {
		current = append(current, newPod(d, hash, current))
	}
	// Old pods go as soon as enough are ready without them; those that are not ready go first.
	sort.SliceStable(old, func(i, j int) bool { return !ready(old[i]) && ready(old[j]) })
	for len(old) > 0 && (!ready(old[0]) && len(current)+len(old) > replicas || readyNow > replicas || replicas == 0) {
		if ready(old[0]) {
			readyNow--
		}
		old = old[1:]
	}
	return append(current, old...)
}

func owned(d *appsv1.Deployment, pods []*corev1.Pod) []*corev1.Pod {
	var mine []*corev1.Pod
	for _, p := range pods {
		for _, o := range p.OwnerReferences {
			if p.Namespace == d.Namespace && o.Kind == "ReplicaSet" && o.Name == d.Name+"-"+p.Labels[labelHash] {
				mine = append(mine, p)
			}
		}
	}
	return mine
}

// newPod makes a pod from the template, with the first free number as the end of its name.
func newPod(d *appsv1.Deployment, hash string, have []*corev1.Pod) *corev1.Pod {
	set := d.Name + "-" + hash
	name := ""
	for i := 1; name == ""; i++ {
		if n := fmt.Sprintf("%s-%d", set, i); find(have, d.Namespace, n) == nil {
			name = n
		}
	}
	p := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(),
		Spec:       *d.Spec.Template.Spec.DeepCopy(),
	}
	p.Name, p.Namespace = name, d.Namespace
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[labelHash] = hash
	yes := true
	p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set, Controller: &yes}}
	return withDefaults(p)
}

func barePod(p *corev1.Pod) *corev1.Pod {
	p = p.DeepCopy()
	p.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	p.Status = corev1.PodStatus{}
	return withDefaults(p)
}

// withDefaults fills in what the API server would.
func withDefaults(p *corev1.Pod) *corev1.Pod {
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = "default"
	}
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	if p.Spec.TerminationGracePeriodSeconds == nil {
		grace := int64(30)
		p.Spec.TerminationGracePeriodSeconds = &grace
	}
	p.UID = newUID()
	return p
}

// schedule gives every pod without a node one: the node that it names, or else the one with the fewest
// pods of its kind, then with the fewest pods.
func schedule(pods []*corev1.Pod, nodes []string) {
	for _, p := range pods {
		if p.Spec.NodeName != "" {
			continue
		}
		if pin := pinned(p); pin != "" {
			p.Spec.NodeName = pin
			continue
		}
		best, bestKin, bestAll := "", 0, 0
		for _, n := range nodes {
			kin, all := load(pods, n, p)
			if best == "" || kin < bestKin || kin == bestKin && all < bestAll {
				best, bestKin, bestAll = n, kin, all
			}
		}
		p.Spec.NodeName = best
	}
}

// pinned is the node that a pod asks for by annotation or node selector.
func pinned(p *corev1.Pod) string {
	if n := p.Annotations[annotationNode]; n != "" {
		return n
	}
	return p.Spec.NodeSelector[corev1.LabelHostname]
}

// load counts a node's pods: those of the same owner, and all.
func load(pods []*corev1.Pod, node string, like *corev1.Pod) (kin, all int) {
	for _, p := range pods {
		if p.Spec.NodeName != node {
			continue
		}
		all++
		if len(p.OwnerReferences) > 0 && len(like.OwnerReferences) > 0 && p.Namespace == like.Namespace &&
			p.OwnerReferences[0].Name == like.OwnerReferences[0].Name {
			kin++
		}
	}
	return kin, all
}

func find(pods []*corev1.Pod, namespace, name string) *corev1.Pod {
	for _, p := range pods {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// isReady reads the Ready condition of a pod's status.
func isReady(p *corev1.Pod) bool {
	if p == nil || p.DeletionTimestamp != nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// newUID makes a random UUID, version 4.
func newUID() types.UID {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
