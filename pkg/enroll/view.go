package enroll

import (
	"cmp"
	"slices"
	"time"
)

// States of a pod, as people see them.
const (
	StateEnrolled = "enrolled" // captured and announced
	StatePending  = "pending"  // wanted; Error or Reason says what it waits for
	StateLeaving  = "leaving"  // being taken off
	StateIgnored  = "ignored"  // none of the mesh's; Reason says why
)

func (e *entry) state() string {
	switch {
	case e.want == nil && e.enrolled && e.reason == adopted:
		return StateEnrolled
	case e.want == nil:
		return StateLeaving
	case e.enrolled && e.announced:
		return StateEnrolled
	}
	return StatePending
}

// View is a pod as the admin page shows it.
type View struct {
	Pod
	State    string    `json:"state"`
	Reason   string    `json:"reason"`             // why it is wanted or not
	Ztunnel  uint64    `json:"ztunnel,omitempty"`  // connection of the ztunnel that serves it
	NoDNS    bool      `json:"noDNS,omitempty"`    // the ztunnel answers no names, so DNS is left alone
	Attempts int       `json:"attempts,omitempty"` // failures in a row
	Error    string    `json:"error,omitempty"`    // the last one
	Since    time.Time `json:"since,omitzero"`     // when it was first wanted
}

// Views lists the pods of the node.
func (r *Reconciler) Views() []View {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []View{}
	known := map[string]bool{}
	for uid, e := range r.entries {
		known[uid] = true
		v := View{Pod: e.pod, State: e.state(), Reason: e.reason, Ztunnel: e.peer, NoDNS: e.noDNS, Attempts: e.attempts, Since: e.since}
		if e.want != nil {
			v.Pod = *e.want
		}
		if e.err != nil {
			v.Error = e.err.Error()
		}
		out = append(out, v)
	}
	for _, d := range r.left {
		if !known[d.Pod.UID] {
			out = append(out, View{Pod: d.Pod, State: StateIgnored, Reason: d.Reason})
		}
	}
	slices.SortFunc(out, func(a, b View) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return out
}
