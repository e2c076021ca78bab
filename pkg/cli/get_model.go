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
	kept := []*model.Workload{}
	for _, w := range sorted(snap.Workloads) {
		if !o.keep(w.Namespace) {
			continue
		}
		kept = append(kept, w)
		health := "healthy"
		if w.Unhealthy {
			health = "unhealthy"
		}
		l.add(w.Namespace, w.Name, join(w.Addresses, netip.Addr.String), w.Node, protocol(w), health, gateway(w.Waypoint),
			w.Identity().String(), join(w.Policies, identityText), join(slices.Sorted(maps.Keys(w.Services)), identityText))
	}
	l.values = kept
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
	kept := []*model.Service{}
	for _, s := range sorted(snap.Services) {
		if !o.keep(s.Namespace) {
			continue
		}
		kept = append(kept, s)
		healthy, all := 0, 0
		for _, w := range snap.Workloads {
			if _, ok := w.Services[s.Key()]; ok {
				all++
				if !w.Unhealthy {
					healthy++
				}
			}
		}
		l.add(s.Namespace, s.Name, join(s.Addresses, netip.Addr.String), join(s.Ports, portText), fmt.Sprintf("%d/%d", healthy, all),
			gateway(s.Waypoint), s.Hostname, join(s.Preference, func(s model.Scope) string { return string(s) }))
	}
	l.values = kept
	return l, nil
}

func portText(p model.Port) string {
	text := fmt.Sprint(p.ServicePort)
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
	all := []policyView{}
	for _, p := range sorted(snap.Policies) {
		all = append(all, policyView{
			Namespace: p.Namespace, Name: p.Name, Layer: "L4", Action: actionText(p.Action), AppliesTo: scopeText(snap, p),
			EnforcedBy: "ztunnel", DryRun: p.DryRun, Note: p.Unsupported,
		})
	}
	for _, p := range sorted(snap.L7Policies) {
		view := policyView{Namespace: p.Namespace, Name: p.Name, Layer: "L7", Action: actionText(p.Action), EnforcedBy: "waypoint", DryRun: p.DryRun}
		switch {
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
	l := &listing{header: []string{"NAMESPACE", "POLICY", "LAYER", "ACTION", "APPLIES TO", "ENFORCED BY"}, wide: []string{"NOTE"}, empty: "no policies: everything is allowed"}
	kept := []policyView{}
	for _, p := range all {
		if !o.keep(p.Namespace) {
			continue
		}
		kept = append(kept, p)
		action := p.Action
		if p.DryRun {
			action += " (dry run)"
		}
		l.add(p.Namespace, p.Name, p.Layer, action, p.AppliesTo, p.EnforcedBy, p.Note)
	}
	slices.SortStableFunc(kept, func(a, b policyView) int { return cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	l.values = kept
	return l, nil
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
	for _, w := range snap.Workloads {
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
	kept := []*model.Waypoint{}
	for _, w := range sorted(snap.Waypoints) {
		if !o.keep(w.Namespace) {
			continue
		}
		kept = append(kept, w)
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
		for _, wl := range snap.Workloads {
			if _, ok := wl.Services[w.Namespace+"/"+w.Hostname]; ok && !wl.Unhealthy {
				pods++
			}
		}
		l.add(w.Namespace, w.Name, w.For, join(w.Addresses, netip.Addr.String), fmt.Sprint(pods), fmt.Sprint(services), fmt.Sprint(routes),
			"spiffe://"+w.TrustDomain+"/ns/"+w.Namespace+"/sa/"+w.ServiceAccount)
	}
	l.values = kept
	return l, nil
}
