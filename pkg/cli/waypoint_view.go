package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// waypointView is a waypoint as `waypoint status` shows it.
type waypointView struct {
	Namespace  string             `json:"namespace"`
	Name       string             `json:"name"`
	Class      string             `json:"class"`
	For        string             `json:"for"`
	Addresses  []string           `json:"addresses"`
	Pods       int                `json:"pods"`
	Ready      int                `json:"ready"`
	Conditions []metav1.Condition `json:"conditions"`
	Users      []string           `json:"users"` // namespaces, services and pods whose label names it
	Age        string             `json:"age"`
}

// Serves reports whether traffic can go through it.
func (v *waypointView) Serves() bool { return v.condition("Programmed") && v.Ready > 0 }

func (v *waypointView) condition(kind string) bool {
	return slices.ContainsFunc(v.Conditions, func(c metav1.Condition) bool { return c.Type == kind && c.Status == metav1.ConditionTrue })
}

// missing says what keeps it from serving.
func (v *waypointView) missing() string {
	for _, c := range v.Conditions {
		if c.Status != metav1.ConditionTrue && (c.Type == "Accepted" || c.Type == "Programmed") {
			return "not " + c.Type + ": " + c.Message
		}
	}
	if !v.condition("Programmed") {
		return "the controller has not answered yet"
	}
	return fmt.Sprintf("%d of %d pods ready", v.Ready, v.Pods)
}

func (o *waypointOptions) get(ctx context.Context, c *cluster.Cluster, name string) (*waypointView, error) {
	u, err := c.Dynamic.Resource(gatewayResource).Namespace(o.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	all, err := o.views(ctx, c, []unstructured.Unstructured{*u})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// find lists the waypoints of one namespace, or of all.
func (o *waypointOptions) find(ctx context.Context, c *cluster.Cluster) ([]*waypointView, error) {
	l, err := o.gateways(c).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	all, err := o.views(ctx, c, l.Items)
	return slices.DeleteFunc(all, func(v *waypointView) bool { return v.Class != api.WaypointClass }), err
}

// views adds pods and users to Gateways.
func (o *waypointOptions) views(ctx context.Context, c *cluster.Cluster, gateways []unstructured.Unstructured) ([]*waypointView, error) {
	namespace := o.namespace
	if o.all {
		namespace = ""
	}
	users, err := waypointUsers(ctx, c, namespace)
	if err != nil {
		return nil, err
	}
	pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: api.LabelGatewayName})
	if err != nil {
		return nil, err
	}
	out := make([]*waypointView, 0, len(gateways))
	for _, u := range gateways {
		var g gatewayv1.Gateway
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &g); err != nil {
			return nil, fmt.Errorf("gateway %s/%s: %w", u.GetNamespace(), u.GetName(), err)
		}
		v := viewGateway(&g)
		v.Users = append(v.Users, users[v.Namespace+"/"+v.Name]...)
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Namespace == v.Namespace && p.Labels[api.LabelGatewayName] == v.Name && p.DeletionTimestamp == nil {
				v.Pods++
				if cluster.PodReady(p) {
					v.Ready++
				}
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func viewGateway(g *gatewayv1.Gateway) *waypointView {
	v := &waypointView{Namespace: g.Namespace, Name: g.Name, Class: string(g.Spec.GatewayClassName), For: g.Labels[api.LabelWaypointFor],
		Addresses: []string{}, Users: []string{}, Conditions: g.Status.Conditions, Age: age(time.Since(g.CreationTimestamp.Time))}
	if v.For == "" {
		v.For = "service"
	}
	for _, a := range g.Status.Addresses {
		v.Addresses = append(v.Addresses, a.Value)
	}
	return v
}

// waypointUsers finds whose labels name waypoints, by the waypoint's namespace/name. Users in other namespaces
// are only seen when all are looked at.
func waypointUsers(ctx context.Context, c *cluster.Cluster, namespace string) (map[string][]string, error) {
	users := map[string][]string{}
	note := func(labels map[string]string, home, who string) {
		if to := labels[api.LabelUseWaypointNamespace]; to != "" {
			home = to
		}
		if name := labels[api.LabelUseWaypoint]; name != "" && name != "none" {
			users[home+"/"+name] = append(users[home+"/"+name], who)
		}
	}
	labelled := metav1.ListOptions{LabelSelector: api.LabelUseWaypoint}
	namespaces, err := c.Client.CoreV1().Namespaces().List(ctx, labelled)
	if err != nil {
		return nil, err
	}
	for _, n := range namespaces.Items {
		note(n.Labels, n.Name, "namespace "+n.Name)
	}
	services, err := c.Client.CoreV1().Services(namespace).List(ctx, labelled)
	if err != nil {
		return nil, err
	}
	for _, s := range services.Items {
		note(s.Labels, s.Namespace, "service "+s.Namespace+"/"+s.Name)
	}
	pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, labelled)
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		note(p.Labels, p.Namespace, "pod "+p.Namespace+"/"+p.Name)
	}
	return users, nil
}

func (o *waypointOptions) list(ctx context.Context, c *cluster.Cluster) error {
	all, err := o.find(ctx, c)
	if err != nil {
		return o.explain(c, err)
	}
	if o.output != "" {
		return o.e.printData(all, o.output)
	}
	if len(all) == 0 {
		fmt.Fprintln(o.e.stdout, "no waypoints")
		return nil
	}
	t := newTable("NAMESPACE", "WAYPOINT", "FOR", "SERVES", "PODS", "ADDRESS", "USED BY", "AGE")
	for _, v := range all {
		serves := o.e.green("yes")
		if !v.Serves() {
			serves = o.e.red("no")
		}
		t.row(v.Namespace, v.Name, v.For, serves, fmt.Sprintf("%d/%d", v.Ready, v.Pods), join(v.Addresses, identityText), join(v.Users, identityText), v.Age)
	}
	t.print(o.e.stdout)
	return nil
}

func (o *waypointOptions) status(ctx context.Context, c *cluster.Cluster, name string) error {
	v, err := o.get(ctx, c, name)
	if err != nil {
		return o.explain(c, err)
	}
	if o.output != "" {
		if err := o.e.printData(v, o.output); err != nil {
			return err
		}
	} else {
		o.print(v)
	}
	if !v.Serves() {
		return &exitError{code: 1}
	}
	return nil
}

func (o *waypointOptions) print(v *waypointView) {
	word := o.e.green("serves")
	if !v.Serves() {
		word = o.e.red("does not serve") + ": " + v.missing()
	}
	fmt.Fprintf(o.e.stdout, "Waypoint %s/%s (%s) %s\n\n", v.Namespace, v.Name, v.For, word)
	fmt.Fprintf(o.e.stdout, "Pods ready  %d of %d\nAddress     %s\nUsed by     %s\n", v.Ready, v.Pods, join(v.Addresses, identityText), strings.ReplaceAll(join(v.Users, identityText), ",", ", "))
	for i, cond := range v.Conditions {
		if i == 0 {
			fmt.Fprintln(o.e.stdout, "\nConditions")
		}
		fmt.Fprintf(o.e.stdout, "  %-14s %-7s %s: %s\n", cond.Type, cond.Status, cond.Reason, cond.Message)
	}
}
