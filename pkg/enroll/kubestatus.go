package enroll

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// writeTimeout is for one answer of the API server.
const writeTimeout = 5 * time.Second

// KubeStatus announces by the pods' annotation weft.dev/redirection, written through pods/status: the agent
// needs no right to change what a pod is.
type KubeStatus struct {
	pods corev1.PodsGetter
	// find knows the pods that are on the node now, and whether the annotation is seen on them.
	find func(uid string) (p Pod, announced, ok bool)

	mu    sync.Mutex      // protects what follows
	wrote map[string]Pod  // pods that this process announced, by UID
	taken map[string]bool // pods that it withdrew: what find saw of them may be old
}

// NewKubeStatus makes a KubeStatus. find is asked about pods that a predecessor may have announced.
func NewKubeStatus(pods corev1.PodsGetter, find func(uid string) (p Pod, announced, ok bool)) *KubeStatus {
	return &KubeStatus{pods: pods, find: find, wrote: map[string]Pod{}, taken: map[string]bool{}}
}

// Announce implements StatusWriter.
func (k *KubeStatus) Announce(p Pod) error {
	k.mu.Lock()
	_, wrote := k.wrote[p.UID]
	taken := k.taken[p.UID]
	k.mu.Unlock()
	if _, announced, ok := k.find(p.UID); ok && announced && !taken && !wrote {
		return nil // a predecessor did
	}
	if err := k.patch(p, ptr(api.RedirectionEnabled)); err != nil {
		return fmt.Errorf("announce pod %s: %w", p.Key(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wrote[p.UID] = p
	delete(k.taken, p.UID)
	return nil
}

// Withdraw implements StatusWriter.
func (k *KubeStatus) Withdraw(uid string) error {
	k.mu.Lock()
	p, ok := k.wrote[uid]
	k.mu.Unlock()
	if !ok {
		if p, _, ok = k.find(uid); !ok {
			return nil // gone, and its annotation with it
		}
	}
	if err := k.patch(p, nil); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
		return fmt.Errorf("withdraw the announcement of pod %s: %w", p.Key(), err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wrote, uid)
	k.taken[uid] = true
	return nil
}

// Forget drops what is kept of a pod that has gone.
func (k *KubeStatus) Forget(uid string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.wrote, uid)
	delete(k.taken, uid)
}

// patch sets or removes the annotation on exactly this pod: one of the same name that came later has another
// UID, and the server refuses.
func (k *KubeStatus) patch(p Pod, value *string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": p.UID, "annotations": map[string]*string{api.AnnotationRedirection: value},
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_, err = k.pods.Pods(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w (the agent's ClusterRole must allow patch on pods/status)", err)
	}
	return err
}

func ptr[T any](v T) *T { return &v }
