package enroll

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// State is what a source knows.
type State struct {
	Namespaces []*corev1.Namespace
	Pods       []*corev1.Pod // of all nodes, or of this one
	// Complete says that an enrolled pod which is not in Pods is gone. It is false while a part of the
	// source cannot be read.
	Complete bool
	// Direct is whether pods of namespaces without a label of their own may talk directly to others of their node.
	Direct bool
	// HandOver tells for which pods packets of direct connections may go past the node's firewall. nil: for none.
	HandOver func(*corev1.Pod) bool
}

// Pod is what enrolment has to know of a pod.
type Pod struct {
	UID            string       `json:"uid"` // of the object; namespace/name where it has none
	Namespace      string       `json:"namespace"`
	Name           string       `json:"name"`
	ServiceAccount string       `json:"serviceAccount"`
	Addresses      []netip.Addr `json:"addresses"` // at most one of a family
	// StaticUID is what kubelet calls a static pod, whose object has another UID. Empty: UID.
	StaticUID string `json:"staticUID,omitempty"`
	// ProbePorts are those that its own spec has the kubelet connect to.
	ProbePorts []uint16 `json:"probePorts,omitempty"`
	// Direct says that it may talk directly to other such pods of its node, where policy leaves it open.
	Direct bool `json:"direct,omitempty"`
	// HandOver says that its packets may then go past the node's firewall.
	HandOver bool `json:"handOver,omitempty"`
}

// Sandbox is the UID by which kubelet names the pod's cgroups.
func (p Pod) Sandbox() string { return cmp.Or(p.StaticUID, p.UID) }

// Key names a pod for people.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

func (p Pod) equal(q Pod) bool {
	return p.UID == q.UID && p.Key() == q.Key() && p.ServiceAccount == q.ServiceAccount && slices.Equal(p.Addresses, q.Addresses) &&
		slices.Equal(p.ProbePorts, q.ProbePorts) && p.Direct == q.Direct && p.HandOver == q.HandOver
}

// Verdict is what is to become of a pod.
type Verdict uint8

const (
	// Leave: not the mesh's. An enrolled pod is taken off.
	Leave Verdict = iota
	// Keep: an enrolled pod stays so, another is not enrolled.
	Keep
	// Enrol it.
	Enrol
)

// Decision on one pod.
type Decision struct {
	Pod     Pod
	Verdict Verdict
	Reason  string
	// Trouble says that somebody should know: it is not as the labels' author meant it.
	Trouble bool
}

// Decide tells what is to become of each pod of a node, ordered by namespace and name.
func Decide(node string, s State) []Decision {
	namespaces := make(map[string]*corev1.Namespace, len(s.Namespaces))
	for _, n := range s.Namespaces {
		namespaces[n.Name] = n
	}
	var out []Decision
	for _, p := range s.Pods {
		if p.Spec.NodeName != node {
			continue
		}
		d := Decision{Pod: podOf(p)}
		d.Pod.Direct = Direct(namespaces[p.Namespace], s.Direct)
		d.Pod.HandOver = d.Pod.Direct && s.HandOver != nil && s.HandOver(p)
		d.decide(p, namespaces[p.Namespace], d.Pod.Addresses)
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b Decision) int {
		return cmp.Or(cmp.Compare(a.Pod.Namespace, b.Pod.Namespace), cmp.Compare(a.Pod.Name, b.Pod.Name))
	})
	return unique(out)
}

// unique refuses pods that claim another's UID, as copied manifests do.
func unique(ds []Decision) []Decision {
	taken := map[string]bool{}
	return slices.DeleteFunc(ds, func(d Decision) bool {
		dup := taken[d.Pod.UID]
		taken[d.Pod.UID] = true
		return dup
	})
}

// DecideStarting is about a pod whose network has just been made: it has these addresses, whatever its status
// says. ns is nil while its namespace is not known.
func DecideStarting(p *corev1.Pod, ns *corev1.Namespace, addresses []netip.Addr) Decision {
	d := Decision{Pod: podOf(p)}
	if d.decide(p, ns, addresses); d.Verdict == Enrol {
		d.Pod.Addresses = perFamily(addresses)
	}
	return d
}

func (d *Decision) decide(p *corev1.Pod, ns *corev1.Namespace, addresses []netip.Addr) {
	d.Verdict, d.Reason = decide(p, ns, addresses)
	if mesh := otherMesh(p); mesh != "" && d.Verdict == Enrol {
		d.Verdict, d.Trouble = Keep, true
		d.Reason = "is in another mesh already (" + mesh + "); take it out of that one, or label it " + api.LabelMode + "=" + api.ModeNone
	}
	if v := labelled(p, ns); v != "" && v != api.ModeAmbient && v != api.ModeNone {
		d.Trouble = !p.Spec.HostNetwork
	}
}

// labelled is the label's value; the pod's own wins.
func labelled(p *corev1.Pod, ns *corev1.Namespace) string {
	if v, ok := p.Labels[api.LabelMode]; ok || ns == nil {
		return v
	}
	return ns.Labels[api.LabelMode]
}

func decide(p *corev1.Pod, ns *corev1.Namespace, addresses []netip.Addr) (Verdict, string) {
	switch {
	case p.Namespace == api.SystemNamespace:
		return Leave, "belongs to the mesh itself"
	case p.Spec.HostNetwork:
		return Leave, "is on the host's network, which is not captured"
	case p.Labels[api.LabelGatewayName] != "":
		return Leave, "is a waypoint, which speaks the tunnel itself"
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return Leave, "has ended"
	}
	v, reason := mode(p, ns)
	switch {
	case v != Enrol:
		return v, reason
	case p.DeletionTimestamp != nil:
		return Keep, "is being deleted"
	case len(addresses) == 0:
		return Keep, "has no address yet"
	}
	return Enrol, reason
}

// mode reads the labels; the pod's own wins.
func mode(p *corev1.Pod, ns *corev1.Namespace) (Verdict, string) {
	of, value, ok := "pod", "", false
	if value, ok = p.Labels[api.LabelMode]; !ok {
		if ns == nil {
			return Keep, "its namespace " + p.Namespace + " is not known (yet), so neither are its labels"
		}
		of, value = "namespace", ns.Labels[api.LabelMode]
	}
	switch value {
	case api.ModeAmbient:
		return Enrol, of + " is labelled " + api.LabelMode + "=" + value
	case api.ModeNone:
		return Leave, of + " is labelled " + api.LabelMode + "=" + value
	case "":
		return Leave, "neither the pod nor its namespace is labelled " + api.LabelMode + "=" + api.ModeAmbient
	}
	return Leave, fmt.Sprintf("%s is labelled %s=%q; the values are %s and %s", of, api.LabelMode, value, api.ModeAmbient, api.ModeNone)
}

func podOf(p *corev1.Pod) Pod {
	out := Pod{UID: string(p.UID), Namespace: p.Namespace, Name: p.Name, ServiceAccount: p.Spec.ServiceAccountName,
		StaticUID: p.Annotations[corev1.MirrorPodAnnotationKey], ProbePorts: probePorts(p)}
	if out.UID == "" {
		out.UID = out.Key()
	}
	if out.ServiceAccount == "" {
		out.ServiceAccount = "default"
	}
	ips := make([]netip.Addr, 0, len(p.Status.PodIPs)+1)
	for _, ip := range p.Status.PodIPs {
		a, _ := netip.ParseAddr(ip.IP)
		ips = append(ips, a)
	}
	a, _ := netip.ParseAddr(p.Status.PodIP)
	out.Addresses = perFamily(append(ips, a))
	return out
}

// perFamily takes the first address of each family that another host could reach.
func perFamily(ips []netip.Addr) (out []netip.Addr) {
	var v4, v6 bool
	for _, a := range ips {
		a = a.Unmap()
		if !a.IsValid() || a.Is4() && v4 || a.Is6() && v6 || a.IsUnspecified() || a.IsLoopback() {
			continue
		}
		v4, v6 = v4 || a.Is4(), v6 || a.Is6()
		out = append(out, a)
	}
	return out
}
