package cluster

import (
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// teller writes Events; repeated ones are counted in one, and too many of one object are left out.
type teller struct {
	broadcaster record.EventBroadcaster
	recorder    record.EventRecorder
	log         *zap.Logger
	once        sync.Once
	client      *kubernetes.Clientset
	stopped     sync.Once
}

func newTeller(client *kubernetes.Clientset, instance string, log *zap.Logger) *teller {
	b := record.NewBroadcaster()
	return &teller{broadcaster: b, client: client, log: log,
		recorder: b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: Manager, Host: instance})}
}

// tell writes an Event about an object; without waiting, and without being certain that it arrives.
func (t *teller) tell(about *corev1.ObjectReference, kind, reason, message string) {
	if about == nil {
		return
	}
	t.once.Do(func() {
		t.broadcaster.StartRecordingToSink(&typed.EventSinkImpl{Interface: t.client.CoreV1().Events("")})
	})
	if len(message) > 1000 { // an Event's limit is 1024
		message = message[:1000] + " …"
	}
	t.recorder.Event(about, kind, reason, message)
}

func (t *teller) stop() { t.stopped.Do(t.broadcaster.Shutdown) }
