package checks

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/enroll"
)

// someAddress stands for the one that a pod will have.
var someAddress = []netip.Addr{netip.IPv4Unspecified().Next()}

// Wanted reports whether the labels want a pod in the mesh, and why or why not; by the agent's own rule.
func Wanted(p *corev1.Pod, ns *corev1.Namespace) (bool, string) {
	d := enroll.DecideStarting(p, ns, someAddress)
	return d.Verdict == enroll.Enrol, d.Reason
}

// IsCaptured reports whether its agent says that a pod's traffic is captured.
func IsCaptured(p *corev1.Pod) bool {
	return p.Annotations[api.AnnotationRedirection] == api.RedirectionEnabled
}

// Tally counts pods of a namespace.
type Tally struct {
	Namespace string   `json:"namespace"`
	Expected  int      `json:"expected"`          // by the labels
	Enrolled  int      `json:"enrolled"`          // of these, captured
	Pending   []string `json:"pending,omitempty"` // the others' names
	Leaving   []string `json:"leaving,omitempty"` // captured, and no longer wanted
}

// Tallies are of the namespaces with anything to count, by name.
func (f *Facts) Tallies() []Tally {
	by := map[string]*Tally{}
	for _, p := range f.Pods {
		wanted, _ := Wanted(p, f.namespace(p.Namespace))
		captured := IsCaptured(p)
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil
		if !wanted && !captured || ended {
			continue
		}
		t := by[p.Namespace]
		if t == nil {
			t = &Tally{Namespace: p.Namespace}
			by[p.Namespace] = t
		}
		switch {
		case wanted && captured:
			t.Expected++
			t.Enrolled++
		case wanted:
			t.Expected++
			t.Pending = append(t.Pending, p.Name)
		default:
			t.Leaving = append(t.Leaving, p.Name)
		}
	}
	out := make([]Tally, 0, len(by))
	for _, name := range sortedKeys(by) {
		out = append(out, *by[name])
	}
	return out
}

func enrolment(f *Facts) []Result {
	const name = "pods that are labelled are captured"
	if err := f.Errors["pods"]; err != nil {
		return []Result{unknown(name, err)}
	}
	var out []Result
	expected := 0
	for _, t := range f.Tallies() {
		expected += t.Expected
		if len(t.Pending) > 0 {
			out = append(out, f.pending(t))
		}
	}
	if len(out) == 0 {
		out = append(out, ok(name, count(expected, "pod")))
	}
	return append(out, outside(f)...)
}

// pending says of a namespace's pods why they are not captured, as their agents tell.
func (f *Facts) pending(t Tally) Result {
	why := ""
	for _, views := range f.Captured {
		for _, v := range views {
			if v.Namespace == t.Namespace && slices.Contains(t.Pending, v.Name) && v.Error != "" {
				why = "; " + v.Key() + ": " + v.Error
			}
		}
	}
	return fail("pods that are labelled are captured", "namespace "+t.Namespace+": not yet "+some(t.Pending)+why,
		"the agents of their nodes say why: weftctl logs agent/NODE; a pod that is not captured talks in clear text")
}

// outside are pods of enrolled namespaces that the mesh cannot hold, wholly or in part.
func outside(f *Facts) []Result {
	var host, strong []string
	for _, p := range f.Pods {
		ns := f.namespace(p.Namespace)
		if ns == nil || ns.Labels[api.LabelMode] != api.ModeAmbient || p.Status.Phase != corev1.PodRunning {
			continue
		}
		if p.Spec.HostNetwork {
			host = append(host, p.Namespace+"/"+p.Name)
		} else if wanted, _ := Wanted(p, ns); wanted && podHints(p) != "" {
			strong = append(strong, p.Namespace+"/"+p.Name+" ("+podHints(p)+")")
		}
	}
	var out []Result
	if len(host) > 0 {
		out = append(out, warn("pods of enrolled namespaces have networks of their own", "on the node's: "+some(host), "they stay outside the mesh: nothing of theirs is encrypted or judged by identity"))
	}
	if len(strong) > 0 {
		out = append(out, warn("enrolled pods cannot touch the nodes", some(strong), "the guard stands outside the pod and holds NET_ADMIN too, but a privileged container owns its node: drop what it does not need"))
	}
	return out
}
