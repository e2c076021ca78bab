package cli

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/model"
)

// sorted returns the values of a map in the order of their keys.
func sorted[V any](m map[string]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func getWorkloads(cmd *cobra.Command, o *getOptions) (*listing, error) {
	snap, err := o.snapshot(cmd.Context())
	if err != nil {
		return nil, err
	}
	l := &listing{
		header: []string{"NAMESPACE", "WORKLOAD", "ADDRESS", "NODE", "PROTOCOL", "HEALTH", "WAYPOINT"},
		wide:   []string{"IDENTITY", "POLICIES", "SERVICES"}, empty: "no workloads",
	}
	for _, w := range snap.Workloads.Sorted() {
		health := "healthy"
		if w.Unhealthy {
			health = "unhealthy"
		}
		l.add(key(w.Namespace, w.Name), w, w.Namespace, w.Name, join(w.Addresses, netip.Addr.String), w.Node, protocol(w), health, gateway(w.Waypoint),
			w.Identity().String(), join(w.Policies, identityText), join(slices.Sorted(maps.Keys(w.Services)), identityText))
	}
	return l, nil
}

func identityText(s string) string { return s }

func protocol(w *model.Workload) string {
	switch {
	case w.Protocol == model.HBONE && w.NativeTunnel:
		return "HBONE (itself)"
	case w.Protocol == model.HBONE:
		return "HBONE"
	}
	return "TCP"
}

func gateway(g *model.Gateway) string {
	switch {
	case g == nil:
		return "-"
	case g.Hostname != "":
		return g.Namespace + "/" + strings.SplitN(g.Hostname, ".", 2)[0]
	}
	return g.Address.String()
}

func getServices(cmd *cobra.Command, o *getOptions) (*listing, error) {
	snap, err := o.snapshot(cmd.Context())
	if err != nil {
		return nil, err
	}
	l := &listing{
		header: []string{"NAMESPACE", "SERVICE", "ADDRESS", "PORTS", "ENDPOINTS", "WAYPOINT"},
		wide:   []string{"HOSTNAME", "BALANCING"}, empty: "no services",
	}
	for _, s := range sorted(snap.Services) {
		healthy, all := 0, 0
		for _, w := range snap.Workloads.All() {
			if _, ok := w.Services[s.Key()]; ok {
				all++
				if !w.Unhealthy {
					healthy++
				}
			}
		}
		l.add(key(s.Namespace, s.Name), s, s.Namespace, s.Name, join(s.Addresses, netip.Addr.String), join(s.Ports, portText), fmt.Sprintf("%d/%d", healthy, all),
			gateway(s.Waypoint), s.Hostname, join(s.Preference, func(s model.Scope) string { return string(s) }))
	}
	return l, nil
}

func portNumber(p model.Port) string { return fmt.Sprint(p.ServicePort) }

func portText(p model.Port) string {
	text := portNumber(p)
	if p.TargetPort != p.ServicePort && p.TargetPort != 0 {
		text += "→" + fmt.Sprint(p.TargetPort)
	}
	if p.App != model.AppUnknown {
		text += "/" + string(p.App)
	}
	return text
}

// policyView is a policy of either layer.
type policyView struct {
	Kind       string `json:"kind"` // what it was written as
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Layer      string `json:"layer"`
	Action     string `json:"action"`
	AppliesTo  string `json:"appliesTo"`
	EnforcedBy string `json:"enforcedBy"`
	DryRun     bool   `json:"dryRun,omitempty"`
	Note       string `json:"note,omitempty"`
}

func getPolicies(cmd *cobra.Command, o *getOptions) (*listing, error) {
	snap, err := o.snapshot(cmd.Context())
	if err != nil {
		return nil, err
	}
	all := policyViews(snap)
	slices.SortStableFunc(all, func(a, b policyView) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Layer, b.Layer))
	})
	l := &listing{
		header: []string{"NAMESPACE", "POLICY", "KIND", "LAYER", "ACTION", "APPLIES TO", "ENFORCED BY"},
		wide:   []string{"NOTE"}, empty: "no policies: everything is allowed",
	}
	for _, p := range all {
		action := p.Action
		if p.DryRun {
			action += " (dry run)"
		}
		l.add(key(p.Namespace, p.Name), p, p.Namespace, p.Name, p.Kind, p.Layer, action, p.AppliesTo, p.EnforcedBy, p.Note)
	}
	return l, nil
}

func policyViews(snap *model.Snapshot) []policyView {
	var all []policyView
	for _, p := range sorted(snap.Policies) {
		kind, namespace, name := writtenAs(p.Namespace, p.Name)
		all = append(all, policyView{
			Kind: kind, Namespace: namespace, Name: name, Layer: "L4", Action: actionText(p.Action), AppliesTo: scopeText(snap, p),
			EnforcedBy: "ztunnel", DryRun: p.DryRun, Note: l4Note(kind, p),
		})
	}
	for _, key := range slices.Sorted(maps.Keys(snap.L7Policies)) {
		p := snap.L7Policies[key]
		kind, namespace, name := writtenAs(p.Namespace, p.Name)
		view := policyView{Kind: kind, Namespace: namespace, Name: name, Layer: "L7", Action: actionText(p.Action), EnforcedBy: "waypoint", DryRun: p.DryRun}
		switch {
		case p.Workloads:
			bound := 0
			for uid := range snap.Workloads.All() {
				if slices.Contains(snap.Bindings.Get(uid), key) {
					bound++
				}
			}
			view.AppliesTo, view.EnforcedBy = fmt.Sprintf("%d workloads", bound), "waypoints before them"
		case p.Service != "":
			view.AppliesTo = "service " + p.Service
			if s := snap.Services[p.Service]; s != nil {
				view.EnforcedBy = "waypoint " + gateway(s.Waypoint)
			}
		default:
			view.AppliesTo, view.EnforcedBy = "everything behind it", "waypoint "+p.Waypoint
		}
		all = append(all, view)
	}
	return all
}

// l4Note says what about a policy is not as it was written.
func l4Note(kind string, p *model.Policy) string {
	switch {
	case p.Unsupported != "":
		return "cannot be evaluated here, so it refuses: " + p.Unsupported
	case kind == "Gateway":
		return "made for the waypoint, which judges callers itself"
	case strings.Contains(p.Name, "_behind_"):
		return "as written, but for the waypoint, which judges callers itself"
	}
	return ""
}

func actionText(a model.Action) string {
	if a == model.Deny {
		return "DENY"
	}
	return "ALLOW"
}

func scopeText(snap *model.Snapshot, p *model.Policy) string {
	switch p.Scope {
	case model.ScopeMesh:
		return "mesh"
	case model.ScopeNamespace:
		return "namespace " + p.Namespace
	}
	bound := 0
	for _, w := range snap.Workloads.All() {
		if slices.Contains(w.Policies, p.Key()) {
			bound++
		}
	}
	return fmt.Sprintf("%d workloads", bound)
}

func getWaypoints(cmd *cobra.Command, o *getOptions) (*listing, error) {
	snap, err := o.snapshot(cmd.Context())
	if err != nil {
		return nil, err
	}
	l := &listing{
		header: []string{"NAMESPACE", "WAYPOINT", "FOR", "ADDRESS", "PODS", "SERVICES", "ROUTES"},
		wide:   []string{"IDENTITY"}, empty: "no waypoints",
	}
	for _, w := range sorted(snap.Waypoints) {
		services, routes, pods := 0, 0, 0
		for _, s := range snap.Services {
			if s.Waypoint == nil || s.Waypoint.Namespace != w.Namespace || s.Waypoint.Hostname != w.Hostname {
				continue
			}
			services++
			for _, r := range snap.Routes {
				if r.Service == s.Key() {
					routes++
				}
			}
		}
		for _, wl := range snap.Workloads.All() {
			if _, ok := wl.Services[w.Namespace+"/"+w.Hostname]; ok && !wl.Unhealthy {
				pods++
			}
		}
		l.add(key(w.Namespace, w.Name), w, w.Namespace, w.Name, w.For, join(w.Addresses, netip.Addr.String), fmt.Sprint(pods), fmt.Sprint(services), fmt.Sprint(routes),
			"spiffe://"+w.TrustDomain+"/ns/"+w.Namespace+"/sa/"+w.ServiceAccount)
	}
	return l, nil
}
