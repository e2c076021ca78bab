package controller

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

const (
	defaultAskTimeout = time.Second
	defaultAskStatus  = 503
)

// custom finds whom a CUSTOM policy asks. Where there is nobody, or it is not clear who, the policy refuses
// what its rules match.
func (p *authPolicy) custom() {
	e := p.object.Spec.ExtAuthz
	switch {
	case e == nil:
		p.refuse("spec.extAuthz", "CUSTOM asks a service, and none is named", "write extAuthz")
		return
	case len(p.object.Spec.TargetRefs) == 0:
		p.refuse("spec.targetRefs", "only a waypoint can ask another service", "write targetRefs")
		return
	case p.object.Spec.DryRun:
		p.refuse("spec.dryRun", "a service that is asked decides", "leave dryRun out")
		return
	}
	backend, why := p.askedBackend(e.Service)
	if why == "" {
		why = p.claimTargets()
	}
	if why != "" {
		p.status.set(conditionAccepted, false, "Unsupported", "%s; until that is corrected the requests that its rules match are refused", why)
		p.status.fail("spec.extAuthz", why+"; the requests that its rules match are refused", "correct it, or remove the policy")
		return
	}
	p.asks = &model.ExternalAuthorization{
		Backend: backend, HTTP: e.Protocol == "HTTP", Timeout: defaultAskTimeout, FailOpen: e.FailOpen,
		StatusOnError: cmp.Or(e.StatusOnError, defaultAskStatus), PathPrefix: strings.TrimSuffix(e.PathPrefix, "/"),
		HeadersToService: e.HeadersToService, HeadersToUpstream: e.HeadersToUpstream, HeadersToClient: e.HeadersToClient,
	}
	if e.Timeout != nil {
		p.asks.Timeout = e.Timeout.Duration
	}
	if e.Body != nil {
		p.asks.BodyBytes, p.asks.PartialBody = e.Body.MaxBytes, e.Body.Partial
	}
}

func (p *authPolicy) askedBackend(ref api.ServiceReference) (model.Backend, string) {
	ns := cmp.Or(ref.Namespace, p.object.Namespace)
	name := ns + "/" + ref.Name
	info := p.services[name]
	switch {
	case !p.granted.allow("AuthorizationPolicy", p.object.Namespace, ns, ref.Name):
		return model.Backend{}, fmt.Sprintf("Service %s is of another namespace, which does not let policies of %s refer to it (ReferenceGrant)", name, p.object.Namespace)
	case info == nil:
		return model.Backend{}, "there is no Service " + name
	}
	if _, ok := info.model.Port(uint16(ref.Port)); !ok {
		return model.Backend{}, fmt.Sprintf("Service %s has no port %d", name, ref.Port)
	}
	return model.Backend{Service: info.model.Key(), Port: uint16(ref.Port), Weight: 1}, ""
}

// claimTargets says who has a target already: one service is asked for each, that of the older policy.
func (p *authPolicy) claimTargets() string {
	me := p.object.Namespace + "/" + p.object.Name
	for _, t := range p.object.Spec.TargetRefs {
		key := "CUSTOM@" + t.Kind + "/" + p.object.Namespace + "/" + t.Name
		if owner, taken := p.claims[key]; taken && owner != me {
			p.status.set(conditionAccepted, false, reasonConflicted, "%s %s belongs to the CUSTOM policy %s, which is older", t.Kind, t.Name, owner)
			return fmt.Sprintf("%s %s belongs to the CUSTOM policy %s, which is older", t.Kind, t.Name, owner)
		}
		p.claims[key] = me
	}
	return ""
}
