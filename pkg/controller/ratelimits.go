package controller

import (
	"cmp"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

const (
	defaultMaxKeys      = 1000
	defaultLimitDomain  = "weft"
	defaultLimitTimeout = 100 * time.Millisecond
)

func (c *compiler) compileRateLimits() {
	for _, o := range oldestFirst(c.objs.RateLimits) {
		p := policyObject{Policy: o.Value, kind: "RateLimit", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		limit := c.rateLimit(p, o.Value.Spec)
		st := c.status(p.kind, p, p.at)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true, gateway: true}) {
			switch {
			case !c.byWaypoint(p, t):
				continue
			case limit.Broken != "" && limit.Closed():
				st.set(conditionEnforced, false, reasonBackendNotFound, "%s; requests of %s are answered 503", limit.Broken, t.String())
			case limit.Broken != "":
				st.set(conditionEnforced, false, reasonBackendNotFound, "%s; requests of %s pass uncounted", limit.Broken, t.String())
			}
			c.put(p, t, model.Attachment{RateLimit: limit})
		}
		st.set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}

func (c *compiler) rateLimit(p policyObject, spec api.RateLimitSpec) *model.RateLimit {
	out := &model.RateLimit{Headers: spec.Headers, DryRun: spec.DryRun, MaxKeys: uint32(spec.MaxKeys)}
	if out.MaxKeys == 0 {
		out.MaxKeys = defaultMaxKeys
	}
	for _, r := range spec.Rules {
		out.Rules = append(out.Rules, limitRule(p.GetNamespace(), r))
	}
	g := spec.Global
	if g == nil {
		return out
	}
	out.Global = &model.GlobalLimit{Domain: cmp.Or(g.Domain, defaultLimitDomain), FailOpen: g.FailOpen, Timeout: cmp.Or(g.Timeout.Value(), defaultLimitTimeout)}
	var ok bool
	if out.Global.Service, ok = c.meshService(p, "spec.global.service", g.Service); !ok {
		out.Broken = "the rate limit service " + g.Service.Name + " cannot be asked"
	}
	return out
}

func limitRule(namespace string, r api.RateLimitRule) model.LimitRule {
	units := map[api.RateLimitUnit]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour, "Day": 24 * time.Hour}
	out := model.LimitRule{Requests: uint32(r.Requests), Per: units[r.Per], Burst: uint32(r.Requests), From: faultCallers(namespace, r.From)}
	if r.Burst != nil {
		out.Burst = uint32(*r.Burst)
	}
	if r.Match != nil {
		m := faultMatch(*r.Match)
		out.Match = &m
	}
	for _, k := range r.By {
		out.By = append(out.By, model.LimitKey{Type: k.Type, Name: strings.ToLower(k.Name)})
	}
	return out
}
