package checks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/charts"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// resources are Weft's own kinds.
func resources(f *Facts) []Result {
	const name = "Weft's kinds are installed"
	if err := f.Errors["customresourcedefinitions"]; err != nil {
		return []Result{unknown(name, err)}
	}
	var missing, other []string
	for _, plural := range []string{"authorizationpolicies", "faults", "peerauthentications"} {
		crd := f.CRDs[plural+"."+api.Group]
		if crd == nil {
			missing = append(missing, plural)
			continue
		}
		if ours, err := charts.Weft.ReadFile("weft/files/crds/" + api.Group + "_" + plural + ".yaml"); err == nil && !sameSchema(crd, ours) {
			other = append(other, plural)
		}
	}
	switch {
	case len(missing) > 0:
		return []Result{fail(name, "missing: "+strings.Join(missing, ", "), "weftctl install brings them; the controller waits for them")}
	case len(other) > 0:
		return []Result{warn("Weft's kinds are of this version", "others: "+strings.Join(other, ", "), "weftctl install upgrades them; or use the weftctl of the installed version")}
	}
	return []Result{ok(name, "")}
}

func controller(f *Facts) []Result {
	i := slices.IndexFunc(f.Deployments, func(d deployment) bool { return d.Namespace == api.SystemNamespace && d.Name == cluster.Controller })
	if i < 0 {
		if err := f.Errors["deployments"]; err != nil {
			return []Result{unknown("the controller runs", err)}
		}
		return []Result{fail("the controller runs", "there is no deployment "+cluster.Controller+" in "+api.SystemNamespace, "weftctl install")}
	}
	d := f.Deployments[i]
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	detail := fmt.Sprintf("%d of %d ready", d.Status.ReadyReplicas, want)
	describe := "kubectl -n " + api.SystemNamespace + " describe pods -l app.kubernetes.io/name=" + cluster.Controller
	var out []Result
	switch {
	case d.Status.ReadyReplicas == 0:
		out = append(out, fail("the controller runs", detail, "enrolled traffic goes on, but nothing changes any more: "+describe))
	case d.Status.ReadyReplicas < want:
		out = append(out, warn("the controller runs", detail, describe))
	default:
		out = append(out, ok("the controller runs", detail))
	}
	return append(out, leader(f))
}

// leader tells whether anybody writes status, waypoints and taints.
func leader(f *Facts) Result {
	const name = "one controller leads"
	if f.Lease == nil || f.Lease.Spec.HolderIdentity == nil || f.Lease.Spec.RenewTime == nil {
		return warn(name, "nobody holds the Lease "+cluster.Controller, "status, waypoints and taints are not written until one does: kubectl -n "+api.SystemNamespace+" logs deployment/"+cluster.Controller)
	}
	if late := f.Now.Sub(f.Lease.Spec.RenewTime.Time); late > time.Minute {
		return warn(name, fmt.Sprintf("%s last said so %s ago", *f.Lease.Spec.HolderIdentity, late.Round(time.Second)), "kubectl -n "+api.SystemNamespace+" logs deployment/"+cluster.Controller)
	}
	return ok(name, *f.Lease.Spec.HolderIdentity)
}

// nodePrograms looks at the agent and the ztunnel of each node.
func nodePrograms(f *Facts) []Result {
	var out []Result
	for _, kind := range []string{cluster.Agent, cluster.Ztunnel} {
		name := kind + " is ready on each node"
		i := slices.IndexFunc(f.DaemonSets, func(d daemonSet) bool { return d.Namespace == api.SystemNamespace && d.Name == kind })
		if i < 0 {
			out = append(out, fail(name, "there is no DaemonSet "+kind+" in "+api.SystemNamespace, "weftctl install"))
			continue
		}
		s := f.DaemonSets[i].Status
		detail := fmt.Sprintf("%d of %d", s.NumberReady, s.DesiredNumberScheduled)
		if s.NumberReady < s.DesiredNumberScheduled || s.DesiredNumberScheduled == 0 {
			out = append(out, fail(name, detail, "kubectl -n "+api.SystemNamespace+" get pods -o wide -l app.kubernetes.io/name="+kind))
			continue
		}
		out = append(out, ok(name, detail))
	}
	var tainted []string
	for _, n := range f.Nodes {
		for _, t := range n.Spec.Taints {
			if t.Key == "weft.dev/agent-not-ready" {
				tainted = append(tainted, n.Name)
			}
		}
	}
	if len(tainted) > 0 {
		out = append(out, warn("no node waits for its agent", "weft.dev/agent-not-ready on "+some(tainted), "no new pod is scheduled there until the agent is ready: weftctl logs agent/"+tainted[0]))
	}
	out = append(out, silent(f)...)
	return append(out, versions(f)...)
}

func silent(f *Facts) []Result {
	var out []Result
	for _, name := range sortedKeys(f.Silent) {
		out = append(out, warn("programs answer", name+": "+f.Silent[name].Error(), "weftctl logs "+name))
	}
	return out
}

// versions finds programs of different versions, as halfway through an upgrade.
func versions(f *Facts) []Result {
	by := map[string][]string{}
	for name, v := range f.Versions {
		by[v] = append(by[v], name)
	}
	switch len(by) {
	case 0:
		return nil
	case 1:
		return []Result{ok("programs are of one version", sortedKeys(by)[0])}
	}
	var text []string
	for _, v := range sortedKeys(by) {
		slices.Sort(by[v])
		text = append(text, v+": "+some(by[v]))
	}
	return []Result{warn("programs are of one version", strings.Join(text, "; "), "an upgrade under way ends it; otherwise: weftctl install")}
}

// kernels are what the agents found when they tried.
func kernels(f *Facts) []Result {
	if len(f.Kernels) == 0 {
		return nil
	}
	var out []Result
	for _, node := range sortedKeys(f.Kernels) {
		for _, feature := range f.Kernels[node] {
			hint := fmt.Sprintf("needs %s, to %s; docs/kernels.md", feature.Need, feature.Why)
			switch {
			case feature.Have:
			case feature.Required:
				out = append(out, fail("kernels have what is needed", node+" lacks "+feature.Name, hint))
			default:
				out = append(out, warn("kernels have what is useful", node+" lacks "+feature.Name, hint))
			}
		}
	}
	if len(out) == 0 {
		return []Result{ok("kernels have all that is used", count(len(f.Kernels), "node"))}
	}
	return out
}

func configuration(f *Facts) []Result {
	const name = "objects are in force as written"
	var out []Result
	for _, p := range f.Problems {
		object := p.Kind + " " + p.Namespace + "/" + p.Name
		for _, c := range p.Problems {
			if c.Path != "" {
				c.Message = c.Path + ": " + c.Message
			}
			out = append(out, warn(name, object+": "+c.Message, c.Suggestion))
		}
		for _, c := range p.Conditions {
			if len(p.Problems) == 0 && c.Status == "False" {
				out = append(out, warn(name, fmt.Sprintf("%s: not %s: %s", object, c.Type, c.Message), "weftctl get problems says more"))
			}
		}
	}
	if len(out) == 0 {
		return []Result{ok(name, "")}
	}
	return out
}
