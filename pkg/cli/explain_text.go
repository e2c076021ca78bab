package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// placeText names a pod and its node, as far as that is known: manifests say no node.
func placeText(w *model.Workload) string {
	if w.Node == "" {
		return workloadText(w)
	}
	return workloadText(w) + " on node " + w.Node
}

func ztunnelText(ep endpoint) string {
	at := "At its ztunnel"
	if ep.workload.Node != "" {
		at = "At the ztunnel of node " + ep.workload.Node
	}
	return fmt.Sprintf("%s, for pod %s port %d", at, workloadName(ep.workload), ep.port)
}

// writtenAs tells what object a compiled policy was made of. A PeerAuthentication becomes policies whose names
// begin so (a RequestAuthentication that requires tokens where nobody sees them too), and end in _listed, or in _mesh where the mesh's own is laid over another namespace; a Gateway
// one that lets its waypoint in; an AuthorizationPolicy may have a version _behind a waypoint. No object's
// name holds an underscore.
func writtenAs(namespace, name string) (kind, objectNamespace, object string) {
	if w, ok := strings.CutPrefix(name, "waypoint_"); ok {
		object, _, _ = strings.Cut(w, "_")
		return "Gateway", namespace, object
	}
	if r, ok := strings.CutPrefix(name, "requestauthentication_"); ok {
		return "RequestAuthentication", namespace, r
	}
	rest, ok := strings.CutPrefix(name, "peerauthentication_")
	if !ok {
		object, _, _ = strings.Cut(name, "_")
		return "AuthorizationPolicy", namespace, object
	}
	object, form, _ := strings.Cut(rest, "_")
	if form == "mesh" {
		namespace = api.SystemNamespace
	}
	return "PeerAuthentication", namespace, object
}

// objectOf is writtenAs for a key, namespace/name.
func objectOf(key string) (kind, object string) {
	namespace, name, _ := strings.Cut(key, "/")
	kind, namespace, name = writtenAs(namespace, name)
	return kind, namespace + "/" + name
}

func policyText(key string) string {
	kind, object := objectOf(key)
	switch kind {
	case "PeerAuthentication", "RequestAuthentication":
		return kind + " " + object
	case "Gateway":
		return "policy " + key // nobody wrote it
	}
	return "policy " + object
}

func abortText(r model.FaultRule) string {
	if r.AbortGRPC != nil {
		return fmt.Sprintf("gRPC status %d", *r.AbortGRPC)
	}
	return fmt.Sprint(r.AbortStatus)
}

func delayText(r model.FaultRule) string {
	if r.Spread == nil {
		return r.Delay.String()
	}
	text := fmt.Sprintf("%s in the mean (%s", r.Delay, strings.ToLower(r.Spread.Kind))
	if r.Spread.Deviation > 0 {
		text += fmt.Sprintf(" ± %s", r.Spread.Deviation)
	}
	if r.Spread.Max > 0 {
		text += fmt.Sprintf(", at most %s", r.Spread.Max)
	}
	return text + ")"
}

// callersText writes in short who is meant.
func callersText(from []model.CallerMatch) string {
	texts := make([]string, len(from))
	for i, m := range from {
		match := model.Match{ServiceAccounts: m.ServiceAccounts}
		for _, ns := range m.Namespaces {
			match.Namespaces = append(match.Namespaces, model.StringMatch{Value: ns})
		}
		texts[i] = describeMatch(match)
	}
	return strings.Join(texts, "; or ")
}

// sayFault tells what a fault does to the request: its first rule that matches counts.
func sayFault(h *hop, f *model.Fault, caller identity.Identity, req request) {
	for i, r := range f.Rules {
		if len(r.From) > 0 && !slices.ContainsFunc(r.From, func(m model.CallerMatch) bool { return m.Is(caller) }) {
			continue
		}
		if len(r.Matches) > 0 && !slices.ContainsFunc(r.Matches, func(m model.RouteMatch) bool { return matchRequest(m, req) }) {
			continue
		}
		var does []string
		if r.AbortPercent > 0 {
			does = append(does, fmt.Sprintf("%g %% of the requests are aborted with %s", r.AbortPercent, abortText(r)))
		}
		if r.DelayPercent > 0 {
			does = append(does, fmt.Sprintf("%g %% are delayed by %s", r.DelayPercent, delayText(r)))
		}
		if r.BandwidthPercent > 0 {
			does = append(does, fmt.Sprintf("%g %% of the answers come at %d bytes/s", r.BandwidthPercent, r.Bandwidth))
		}
		h.say("fault %s, rule %d: %s", f.Key(), i+1, strings.Join(does, ", "))
		return
	}
	h.say("fault %s has no rule for this request", f.Key())
}
