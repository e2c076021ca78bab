package controller

import (
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// compileTraffic attaches TrafficPolicies to what they name: waypoints carry them out, and where a service
// asks for none, its callers' ztunnels do what makes sense there.
func (c *compiler) compileTraffic() {
	ztunnel := byZtunnel{}
	defer ztunnel.finish()
	for _, o := range oldestFirst(c.objs.TrafficPolicies) {
		spec := &o.Value.Spec
		p := policyObject{Policy: o.Value, kind: "TrafficPolicy", at: o.Origin, refs: spec.TargetRefs}
		policy := trafficPolicy(spec)
		policy.TLS = c.backendTLS(p, spec.TLS)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true}) {
			addProbes(t, policy.Checks)
			if ztunnel.concerns(t) {
				ztunnel.attach(c.status(p.kind, p, p.at), t, policy)
				continue
			}
			if !c.byWaypoint(p, t) {
				continue
			}
			c.labelEndpoints(t, policy.Subset)
			c.put(p, t, model.Attachment{Traffic: policy})
		}
		if policy.TLS != nil && policy.TLS.Broken != "" {
			c.status(p.kind, p, p.at).set(conditionEnforced, false, "InvalidCACertificates", "%s: endpoints outside the mesh are not called", policy.TLS.Broken)
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}

// labelEndpoints gives the endpoints that requests to a target may go to the labels that a subset names;
// others' labels nobody needs.
func (c *compiler) labelEndpoints(t attached, subset map[string]string) {
	if len(subset) == 0 {
		return
	}
	services := map[string]bool{}
	if t.Route == "" {
		services[t.Service] = true
	} else {
		for _, r := range c.snap.Routes {
			if r.Key() != t.Route {
				continue
			}
			for _, rule := range r.Rules {
				for _, b := range rule.Backends {
					services[b.Service] = true
				}
			}
		}
	}
	for key := range services {
		info := c.byKey(key)
		if info == nil {
			continue
		}
		info.fixed = true
		for _, p := range info.pods {
			labelWorkload(p, subset)
		}
	}
}

func labelWorkload(p *podInfo, subset map[string]string) {
	if p.object == nil {
		return // an endpoint that is no pod has no labels
	}
	for k := range subset {
		if v, ok := p.object.Labels[k]; ok {
			if p.workload.Labels == nil {
				p.workload.Labels = map[string]string{}
			}
			p.workload.Labels[k] = v
		}
	}
}

// trafficPolicy reads what a person wrote, with the defaults that the fields' comments name.
func trafficPolicy(in *api.TrafficPolicySpec) *model.TrafficPolicy {
	return &model.TrafficPolicy{
		Timeouts: timeouts(in.Timeouts), Retries: retries(in.Retries), Subset: in.Subset,
		Balance: balance(in.LoadBalancing), Locality: localityPolicy(in.Locality),
		Limits: connectionLimits(in.ConnectionLimits), Outliers: outliers(in.OutlierDetection),
		Keepalive: keepalive(in.TCPKeepalive), Protocol: upstreamProtocols[in.Protocol], HTTP2: http2(in.HTTP2),
		Checks: healthChecks(in.HealthChecks),
	}
}

var upstreamProtocols = map[api.UpstreamProtocol]model.AppProtocol{
	api.ProtocolHTTP1: model.AppHTTP, api.ProtocolHTTP2: model.AppHTTP2,
}
