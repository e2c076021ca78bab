package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// liftTaints lets pods on nodes again whose agent never got ready.
func (u *uninstaller) liftTaints(ctx context.Context) error {
	nodes, err := u.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("lift taints: %w", err)
	}
	var errs []error
	for _, n := range nodes.Items {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return u.liftTaint(ctx, n.Name) })
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("lift taint %s of node %s: %w", cluster.Taint, n.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (u *uninstaller) liftTaint(ctx context.Context, node string) error {
	n, err := u.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	rest := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return t.Key == cluster.Taint })
	if len(rest) == len(n.Spec.Taints) {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion}, // refused if somebody was faster
		"spec":     map[string]any{"taints": rest},
	})
	if err != nil {
		return err
	}
	_, err = u.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// made are the kinds of what controllers make for Gateways.
var made = []schema.GroupVersionResource{
	{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "apps", Version: "v1", Resource: "deployments"},
	{Version: "v1", Resource: "services"},
	{Version: "v1", Resource: "serviceaccounts"},
}

// removeMade removes what controllers made, in all namespaces, and nothing that somebody else did.
func (u *uninstaller) removeMade(ctx context.Context) error {
	ours := deploy.LabelManagedBy + "=" + deploy.ManagedBy
	var errs []error
	for _, r := range made {
		errs = append(errs, u.remove(ctx, r, metav1.ListOptions{LabelSelector: ours + "," + api.LabelGatewayName}))
	}
	errs = append(errs, u.remove(ctx, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		metav1.ListOptions{LabelSelector: ours, FieldSelector: "metadata.name=" + deploy.RootConfigMap}))
	err := u.client.CoordinationV1().Leases(u.Namespace).Delete(ctx, controllers, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		errs = append(errs, fmt.Errorf("remove Lease %s: %w", controllers, err))
	}
	return errors.Join(errs...)
}

func (u *uninstaller) remove(ctx context.Context, r schema.GroupVersionResource, which metav1.ListOptions) error {
	list, err := u.objects.Resource(r).List(ctx, which)
	if err != nil {
		return fmt.Errorf("look for %s to remove: %w", r.Resource, err)
	}
	background := metav1.DeletePropagationBackground
	var errs []error
	for _, o := range list.Items {
		err := u.objects.Resource(r).Namespace(o.GetNamespace()).Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove %s %s/%s: %w", r.Resource, o.GetNamespace(), o.GetName(), err))
			continue
		}
		u.Logger.Info("removed", zap.String("resource", r.Resource), zap.String("namespace", o.GetNamespace()), zap.String("name", o.GetName()))
	}
	return errors.Join(errs...)
}
