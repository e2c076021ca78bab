package enroll

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// Reasons of what is told about pods.
const (
	ReasonNotEnrolled = "NotEnrolled" // wanted, and cannot be captured: the message says why
	ReasonEnrolled    = "Enrolled"    // captured after all
)

// Teller tells people about a pod. Calls do not wait.
type Teller interface {
	Tell(p Pod, warning bool, reason, message string)
}

// tellAfter is how many failures in a row, or how long a wait for a ztunnel, are worth telling.
const (
	tellAfter     = 3
	tellAfterWait = 20 * time.Second
)

// tell has people told what keeps a pod from being enrolled, once for each thing. r.mu is held.
func (r *Reconciler) tell(e *entry, waits bool) {
	if r.o.Teller == nil || e.want == nil || e.err == nil {
		return
	}
	// After a reboot the source still shows pods whose sandboxes have yet to be made anew.
	waits = waits || errors.Is(e.err, errNoProcess)
	if waits && r.o.Clock.Now().Sub(e.since) < tellAfterWait || !waits && e.attempts < tellAfter {
		return
	}
	if text := e.err.Error(); text != e.told {
		e.told = text
		r.o.Teller.Tell(*e.want, true, ReasonNotEnrolled, "not (yet) in the mesh: "+text+"; it is tried again")
	}
}

// relieve takes back what was told. r.mu is held.
func (r *Reconciler) relieve(e *entry) {
	if e.told == "" || e.want == nil {
		return
	}
	e.told = ""
	r.o.Teller.Tell(*e.want, false, ReasonEnrolled, "captured by the mesh")
}

// tellLeft has people told of pods that are left alone against their will, once each. r.mu is held.
func (r *Reconciler) tellLeft() {
	if r.o.Teller == nil {
		return
	}
	now := map[string]string{}
	for _, d := range r.left {
		if !d.Trouble {
			continue
		}
		if now[d.Pod.UID] = d.Reason; r.troubled[d.Pod.UID] != d.Reason {
			r.o.Teller.Tell(d.Pod, true, ReasonNotEnrolled, "not in the mesh: "+d.Reason)
		}
	}
	r.troubled = now
}

// KubeEvents tells by Events on the pods.
type KubeEvents struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
}

// NewKubeEvents makes a KubeEvents of the node's agent; Close ends it.
func NewKubeEvents(events typedcorev1.EventsGetter, node string) *KubeEvents {
	k := &KubeEvents{broadcaster: record.NewBroadcaster()}
	k.broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: events.Events("")})
	k.recorder = k.broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "weft-agent", Host: node})
	return k
}

// Tell implements Teller. What is said again is counted rather than repeated, and a flood is held back.
func (k *KubeEvents) Tell(p Pod, warning bool, reason, message string) {
	kind := corev1.EventTypeNormal
	if warning {
		kind = corev1.EventTypeWarning
	}
	const most = 1000 // of the API server's
	if len(message) > most {
		message = message[:most]
	}
	k.recorder.Event(&corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID)}, kind, reason, message)
}

// Close ends the telling; what is on its way may be lost.
func (k *KubeEvents) Close() { k.broadcaster.Shutdown() }
