package checks

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// networkPolicies finds those that keep the tunnel's port closed to enrolled pods: what they let in on other
// ports arrives on 15008 once the pods are in the mesh.
func networkPolicies(f *Facts) []Result {
	const name = "network policies let the tunnel through"
	if err := f.Errors["networkpolicies"]; err != nil {
		return []Result{unknown(name, err)}
	}
	var closed []string
	for _, p := range f.Policies {
		ns := f.namespace(p.Namespace)
		if ns == nil || ns.Labels[api.LabelMode] != api.ModeAmbient || !slices.Contains(types(p), networkingv1.PolicyTypeIngress) || opens(f, p) {
			continue
		}
		closed = append(closed, p.Namespace+"/"+p.Name)
	}
	if len(closed) > 0 {
		return []Result{warn(name, "closed for TCP 15008: "+some(closed), "let the callers' pods in on port 15008, and limit them by AuthorizationPolicy instead; docs/cni.md")}
	}
	return []Result{ok(name, "")}
}

func types(p *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(p.Spec.PolicyTypes) == 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	}
	return p.Spec.PolicyTypes
}

// opens reports whether this policy, or another of its namespace for the same pods, has a rule for the port.
func opens(f *Facts, p *networkingv1.NetworkPolicy) bool {
	for _, q := range f.Policies {
		if q.Namespace != p.Namespace || q != p && len(q.Spec.PodSelector.MatchLabels)+len(q.Spec.PodSelector.MatchExpressions) > 0 {
			continue
		}
		for _, rule := range q.Spec.Ingress {
			if len(rule.Ports) == 0 || slices.ContainsFunc(rule.Ports, tunnelPort) {
				return true
			}
		}
	}
	return false
}

func tunnelPort(p networkingv1.NetworkPolicyPort) bool {
	switch {
	case p.Protocol != nil && *p.Protocol != "TCP":
		return false
	case p.Port == nil:
		return true
	case p.EndPort != nil:
		return p.Port.IntVal <= api.PortHBONE && api.PortHBONE <= *p.EndPort
	}
	return p.Port.IntVal == api.PortHBONE
}
