package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// Names of the agent's DaemonSet, which is also its service account, and of the taint.
const (
	agentName = "weft-agent"
	// Taint keeps pods off nodes whose agent is not ready: they would start outside of the mesh, or not at all.
	Taint = api.Group + "/agent-not-ready"
)

// writeTaints taints nodes whose agent is there and not ready, and lifts the taint where it is. A node without
// an agent's pod is left as it is: it may have been tainted by its kubelet before it joined, or is not to have
// an agent at all. When there is no agent's DaemonSet any more, every taint is lifted.
func (w *Writer) writeTaints(ctx context.Context, want *Wanted) error {
	agents := agentsOf(want.Objects, w.o.Namespace)
	var concerned []source.Object[corev1.Node]
	for _, n := range want.Objects.Nodes {
		if ready, known := agents[n.Value.Name]; tainted(n.Value) || known && !ready {
			concerned = append(concerned, n)
		}
	}
	if len(concerned) == 0 {
		return nil
	}
	_, err := w.client.AppsV1().DaemonSets(w.o.Namespace).Get(ctx, agentName, metav1.GetOptions{})
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return fmt.Errorf("look for DaemonSet %s: %w", agentName, err)
	}
	var failed first
	for _, n := range concerned {
		if on := !gone && !agents[n.Value.Name]; on != tainted(n.Value) {
			failed.add(w.setTaint(ctx, n.Value.Name, on))
		}
	}
	return failed.err
}

// agentsOf says of each node that has an agent's pod whether one is ready.
func agentsOf(objs *source.Objects, namespace string) map[string]bool {
	out := map[string]bool{}
	for _, o := range objs.Pods {
		p := o.Value
		if p.Namespace != namespace || p.Spec.ServiceAccountName != agentName || p.Spec.NodeName == "" {
			continue
		}
		ready := p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
		out[p.Spec.NodeName] = out[p.Spec.NodeName] || ready
	}
	return out
}

func tainted(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == Taint })
}

// setTaint changes the taints as they are now; others may be changing them too.
func (w *Writer) setTaint(ctx context.Context, node string, on bool) error {
	n, err := w.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("taint node %s: %w", node, err)
	}
	if tainted(n) == on {
		return nil
	}
	taints := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == Taint })
	if on {
		taints = append(taints, corev1.Taint{Key: Taint, Effect: corev1.TaintEffectNoSchedule})
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion}, // refused if somebody was faster
		"spec":     map[string]any{"taints": taints},
	})
	if err != nil {
		return fmt.Errorf("taint node %s: %w", node, err)
	}
	w.metrics.writes.WithLabelValues("Node").Inc()
	if _, err := w.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager}); err != nil {
		return fmt.Errorf("taint node %s: %w", node, err)
	}
	w.o.Logger.Info("taint "+Taint, zap.String("node", node), zap.Bool("set", on))
	return nil
}
