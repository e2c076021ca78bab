package source

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
)

// What is checked here of Weft's own kinds, their CustomResourceDefinitions check at an API server, by the
// markers in pkg/api; a test in charts holds the two against each other.

func validateAuthorization(v *inspection, p *api.AuthorizationPolicy) {
	v.need("spec", "an empty spec of a policy allows nothing: write spec: {} if that is meant")
	validateSelector(v, p.Spec.Selector)
	atMost(v, "spec.rules", len(p.Spec.Rules), 64)
	if p.Spec.Action != "" {
		oneOf(v, "spec.action", p.Spec.Action, api.ActionAllow, api.ActionDeny)
	}
	if p.Spec.Selector != nil && len(p.Spec.TargetRefs) > 0 {
		v.fail("spec.targetRefs", "selector and targetRefs exclude each other", "make it two policies")
	}
	validateTargets(v, p.Spec.TargetRefs)
	for i, r := range p.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		if r.From != nil && len(r.From) == 0 {
			v.fail(at+".from", "an empty list of callers", "leave from out to mean every caller")
		}
		if r.To != nil && len(r.To) == 0 {
			v.fail(at+".to", "an empty list of operations", "leave to out to mean every operation")
		}
		atMost(v, at+".from", len(r.From), 16)
		atMost(v, at+".to", len(r.To), 16)
		for j, f := range r.From {
			s := f.Source
			validateLists(v, fmt.Sprintf("%s.from[%d].source", at, j), map[string][]string{
				"principals": s.Principals, "notPrincipals": s.NotPrincipals, "namespaces": s.Namespaces, "notNamespaces": s.NotNamespaces,
				"serviceAccounts": s.ServiceAccounts, "notServiceAccounts": s.NotServiceAccounts, "ipBlocks": s.IPBlocks, "notIpBlocks": s.NotIPBlocks,
			})
		}
		for j, t := range r.To {
			o := t.Operation
			validateLists(v, fmt.Sprintf("%s.to[%d].operation", at, j), map[string][]string{
				"ports": o.Ports, "notPorts": o.NotPorts, "hosts": o.Hosts, "notHosts": o.NotHosts,
				"methods": o.Methods, "notMethods": o.NotMethods, "paths": o.Paths, "notPaths": o.NotPaths,
			})
		}
	}
}

// validateLists refuses lists that are there and empty: they would say nothing, and look as if they said "none".
func validateLists(v *inspection, at string, lists map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		if l := lists[name]; l != nil && len(l) == 0 {
			v.fail(at+"."+name, "an empty list", "leave "+name+" out")
		}
		atMost(v, at+"."+name, len(lists[name]), 32)
	}
}

func validateSelector(v *inspection, s *api.Selector) {
	if s != nil && len(s.MatchLabels) == 0 {
		v.fail("spec.selector", "the selector is empty", "write matchLabels, or leave selector out to mean the whole namespace")
	}
}

// atMost holds a list to what an API server takes.
func atMost(v *inspection, path string, n, most int) {
	if n > most {
		v.fail(path, fmt.Sprintf("%d entries, and at most %d are allowed", n, most), "make it several objects")
	}
}

// need refuses an object in which a field is not written, where its zero value would mean something.
func (v *inspection) need(path, suggestion string) {
	name := path[strings.LastIndexByte(path, '.')+1:]
	if find(v.root, path).Value != name {
		v.fail(path, name+" is missing", suggestion)
	}
}

func validateTargets(v *inspection, refs []api.TargetRef) {
	atMost(v, "spec.targetRefs", len(refs), 16)
	for i, t := range refs {
		at := fmt.Sprintf("spec.targetRefs[%d]", i)
		if t.Kind == "" || t.Name == "" {
			v.fail(at, "a target needs kind and name", "")
		}
	}
}

func validatePeerAuthentication(v *inspection, p *api.PeerAuthentication) {
	mode := func(path string, m api.MTLSMode) {
		if m != "" {
			oneOf(v, path, m, api.ModeUnset, api.ModeStrict, api.ModePermissive)
		}
	}
	v.need("spec", "write spec: {mtls: {mode: STRICT}}")
	validateSelector(v, p.Spec.Selector)
	mode("spec.mtls.mode", p.Spec.MTLS.Mode)
	for port, m := range p.Spec.PortLevelMTLS {
		at := join("spec.portLevelMtls", port)
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			v.fail(at, fmt.Sprintf("%q is not a port", port), "write a number from 1 to 65535 in quotes")
		}
		mode(at+".mode", m.Mode)
	}
	if len(p.Spec.PortLevelMTLS) > 0 && p.Spec.Selector == nil {
		v.fail("spec.portLevelMtls", "ports can only be told apart for selected workloads", "add spec.selector.matchLabels")
	}
}

func validateFault(v *inspection, f *api.Fault) {
	if len(f.Spec.TargetRefs) == 0 {
		v.fail("spec", "targetRefs is missing", "name the Services to disturb")
	}
	validateTargets(v, f.Spec.TargetRefs)
	if len(f.Spec.Rules) == 0 {
		v.fail("spec", "the fault has no rules", "add rules with abort or delay")
	}
	atMost(v, "spec.rules", len(f.Spec.Rules), 64)
	for i, r := range f.Spec.Rules {
		validateFaultRule(v, fmt.Sprintf("spec.rules[%d]", i), r)
	}
}

func validateFaultRule(v *inspection, at string, r api.FaultRule) {
	if r.Abort == nil && r.Delay == nil {
		v.fail(at, "the rule does nothing", "add abort or delay")
	}
	if r.Abort != nil {
		validateAbort(v, at+".abort", r.Abort)
	}
	if d := r.Delay; d != nil {
		validatePercentage(v, at+".delay.percentage", d.Percentage)
		if d.Duration.Duration <= 0 {
			v.fail(at+".delay.duration", "the delay lasts no time", "write e.g. 200ms")
		}
	}
	atMost(v, at+".matches", len(r.Matches), 16)
	for j, m := range r.Matches {
		if m.Path != "" && m.Path[0] != '/' {
			v.fail(fmt.Sprintf("%s.matches[%d].path", at, j), "a path begins with /", "")
		}
	}
}

func validateAbort(v *inspection, at string, a *api.FaultAbort) {
	validatePercentage(v, at+".percentage", a.Percentage)
	if a.HTTPStatus != 0 && (a.HTTPStatus < 200 || a.HTTPStatus > 599) {
		v.fail(at+".httpStatus", fmt.Sprintf("%d is not an HTTP status to end a request with", a.HTTPStatus), "write 200 to 599")
	}
	if a.GRPCStatus != nil && *a.GRPCStatus > 16 {
		v.fail(at+".grpcStatus", fmt.Sprintf("%d is not a gRPC status", *a.GRPCStatus), "write 0 to 16")
	}
	if a.GRPCStatus != nil && a.HTTPStatus != 0 {
		v.fail(at, "httpStatus and grpcStatus exclude each other", "leave one out")
	}
}

func validatePercentage(v *inspection, path string, p float64) {
	v.need(path, "write 0 to 100")
	if p < 0 || p > 100 {
		v.fail(path, fmt.Sprintf("%v is not a percentage", p), "write 0 to 100")
	}
}
