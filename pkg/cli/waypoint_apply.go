package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// manifest is the Gateway that a person would write.
func (o *waypointOptions) manifest(name string) map[string]any {
	return map[string]any{
		"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
		"metadata": map[string]any{"name": name, "namespace": o.namespace, "labels": map[string]any{api.LabelWaypointFor: o.forWhat}},
		"spec": map[string]any{
			"gatewayClassName": api.WaypointClass,
			"listeners":        []any{map[string]any{"name": "mesh", "port": api.PortHBONE, "protocol": "HBONE"}},
		},
	}
}

func (o *waypointOptions) apply(ctx context.Context, c *cluster.Cluster, name string) error {
	if !slices.Contains([]string{"service", "workload", "all"}, o.forWhat) {
		return &exitError{2, fmt.Errorf("--for %s: want service, workload or all", o.forWhat)}
	}
	if o.dryRun {
		return o.e.printData(o.manifest(name), "yaml")
	}
	if g, err := o.get(ctx, c, name); err == nil && g.Class != api.WaypointClass {
		return fmt.Errorf("gateway %s/%s is of class %s, not a waypoint: choose another name", o.namespace, name, g.Class)
	}
	body, err := json.Marshal(o.manifest(name))
	if err != nil {
		return err
	}
	force := true
	_, err = c.Dynamic.Resource(gatewayResource).Namespace(o.namespace).Patch(ctx, name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "weftctl", Force: &force})
	if err != nil {
		return o.explain(c, err)
	}
	if o.enroll {
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%q}}}`, api.LabelUseWaypoint, name)
		if _, err := c.Client.CoreV1().Namespaces().Patch(ctx, o.namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "weftctl"}); err != nil {
			return c.Explain(fmt.Errorf("label namespace %s: %w", o.namespace, err))
		}
	}
	if !o.wait {
		fmt.Fprintf(o.e.stdout, "Waypoint %s/%s is applied.\n", o.namespace, name)
		return nil
	}
	return o.await(ctx, c, name)
}

// await looks until the waypoint serves.
func (o *waypointOptions) await(ctx context.Context, c *cluster.Cluster, name string) error {
	start, last := time.Now(), ""
	for {
		g, err := o.get(ctx, c, name)
		if err != nil {
			return o.explain(c, err)
		}
		if g.Serves() {
			fmt.Fprintf(o.e.stdout, "%s Waypoint %s/%s serves: %d of %d pods ready.\n", o.e.green("✓"), g.Namespace, g.Name, g.Ready, g.Pods)
			return nil
		}
		if why := g.missing(); why != last {
			fmt.Fprintf(o.e.stderr, "  %s (%s)\n", why, time.Since(start).Round(100*time.Millisecond))
			last = why
		}
		if time.Since(start) > o.timeout {
			return fmt.Errorf("waypoint %s/%s does not serve after %s: %s; kubectl -n %[1]s describe gateway %[2]s", o.namespace, name, o.timeout, last)
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

func (o *waypointOptions) remove(ctx context.Context, c *cluster.Cluster, name string) error {
	g, err := o.get(ctx, c, name)
	if err != nil {
		return o.explain(c, err)
	}
	if g.Class != api.WaypointClass {
		return fmt.Errorf("gateway %s/%s is of class %s, not a waypoint: nothing was removed", o.namespace, name, g.Class)
	}
	if len(g.Users) > 0 && !o.yes {
		return &exitError{1, fmt.Errorf("waypoint %s/%s is used by %s, who could not be reached any more: take the label %s off first, or --yes",
			o.namespace, name, join(g.Users, identityText), api.LabelUseWaypoint)}
	}
	if err := c.Dynamic.Resource(gatewayResource).Namespace(o.namespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return o.explain(c, err)
	}
	fmt.Fprintf(o.e.stdout, "Waypoint %s/%s is removed.\n", o.namespace, name)
	return nil
}

// explain names the next step of what goes wrong with Gateways.
func (o *waypointOptions) explain(c *cluster.Cluster, err error) error {
	var missing *apierrors.StatusError
	switch {
	case errors.As(err, &missing) && apierrors.IsNotFound(err) && (missing.ErrStatus.Details == nil || missing.ErrStatus.Details.Name == ""):
		return fmt.Errorf("the API server of %s does not know Gateways: install the Gateway API (weftctl check --pre says how)", c.Name)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w in namespace %s: weftctl waypoint list -A shows all, -n chooses the namespace", err, o.namespace)
	}
	return c.Explain(err)
}
