package controller

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// asked is a service that a waypoint calls for a policy, and what becomes of requests while nobody answers.
type asked struct {
	object policyObject
	path   string
	ref    api.ServiceRef
	effect string
}

// lintAsked finds policies that ask services which have nobody to answer.
func (c *compiler) lintAsked() {
	for _, a := range c.allAsked() {
		ns := a.ref.Namespace
		if ns == "" {
			ns = a.object.GetNamespace()
		}
		st, info := c.status(a.object.kind, a.object, a.object.at), c.services[ns+"/"+a.ref.Name]
		if accepted := st.Condition(conditionAccepted); accepted != nil && accepted.Status == metav1.ConditionFalse {
			continue // something worse is said of it
		}
		if info == nil || len(info.pods) > 0 || len(info.object.Spec.Selector) == 0 {
			continue // without a selector its endpoints are written elsewhere
		}
		st.warn(a.path,
			"Service "+ns+"/"+a.ref.Name+" has no pods that could be asked: "+a.effect, "deploy what stands behind it, or correct its selector")
	}
}

func (c *compiler) allAsked() []asked {
	var out []asked
	for _, o := range c.objs.RateLimits {
		if g := o.Value.Spec.Global; g != nil {
			l := model.RateLimit{DryRun: o.Value.Spec.DryRun, Global: &model.GlobalLimit{FailOpen: g.FailOpen}}
			out = append(out, asked{policyObject{o.Value, "RateLimit", o.Origin, nil}, "spec.global.service", g.Service, failing(!l.Closed(), "requests are answered 503", "requests pass uncounted")})
		}
	}
	for _, o := range c.objs.Extensions {
		if p := o.Value.Spec.ExtProc; p != nil {
			out = append(out, asked{policyObject{o.Value, "Extension", o.Origin, nil}, "spec.extProc.service", p.Service, failing(o.Value.Spec.FailOpen, "requests are answered 500", "requests pass without it")})
		}
	}
	for _, o := range c.objs.Telemetries {
		out = append(out, collectors(o)...)
	}
	for _, o := range c.objs.AuthorizationPolicies {
		if e := o.Value.Spec.ExtAuthz; e != nil {
			ref := api.ServiceRef{Namespace: e.Service.Namespace, Name: e.Service.Name, Port: e.Service.Port}
			out = append(out, asked{policyObject{o.Value, "AuthorizationPolicy", o.Origin, nil}, "spec.extAuthz.service", ref,
				failing(e.FailOpen, "the requests that its rules match are refused", "the requests that its rules match pass")})
		}
	}
	return out
}

func collectors(o source.Object[api.Telemetry]) []asked {
	var out []asked
	p := policyObject{o.Value, "Telemetry", o.Origin, nil}
	if t := o.Value.Spec.Tracing; t != nil && t.Collector != nil {
		out = append(out, asked{p, "spec.tracing.collector", *t.Collector, "spans are dropped"})
	}
	if l := o.Value.Spec.AccessLog; l != nil && l.OTLP != nil {
		out = append(out, asked{p, "spec.accessLog.otlp", *l.OTLP, "log entries are dropped"})
	}
	return out
}

func failing(open bool, closed, passes string) string {
	if open {
		return passes
	}
	return closed
}
