package controller

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// behindWaypoints deals with workloads that are called through a waypoint. Their own ztunnels then see the
// waypoint as the caller, and so
//
//   - a DENY policy would not know whom it means: it is enforced at the waypoint as well;
//   - an ALLOW policy refuses the waypoint unless it names it: that is safe, and said in the status.
func (p *authPolicy) behindWaypoints(l4 *model.Policy, pods []*podInfo) {
	bound := map[*model.Workload]bool{}
	for _, pod := range pods {
		bound[pod.workload] = true
	}
	refused := map[string]bool{}
	for _, info := range p.served {
		own := slices.ContainsFunc(info.pods, func(e *podInfo) bool { return bound[e.workload] })
		reached := own
		for _, b := range info.reach {
			if other := p.services[b]; other != nil && other != info {
				reached = reached || slices.ContainsFunc(other.pods, func(e *podInfo) bool { return bound[e.workload] })
			}
		}
		// A service that still has no pods is ready for the first one.
		if !reached && (len(info.pods) > 0 || !p.inScope(l4, info)) {
			continue
		}
		if l4.Action == model.Deny {
			p.denyAtWaypoint(l4, info, bound)
		}
		if !l4.DryRun && own && p.refusesWaypoint(l4, info, bound) {
			refused[info.use.waypoint.Key()] = true
		}
	}
	p.denyForWorkloads(l4, pods)
	for _, key := range slices.Sorted(maps.Keys(refused)) {
		w := p.snap.Waypoints[key]
		text := fmt.Sprintf("calls through waypoint %s arrive as principal %s, which this policy refuses", key, waypointPrincipal(w))
		p.status.warn("spec", text, "allow that principal here, and say who may call in a policy with targetRefs for the Service")
		if e := p.status.Condition(conditionEnforced); e != nil {
			e.Message = joinText(e.Message, text)
		}
	}
}

func (p *authPolicy) inScope(l4 *model.Policy, info *serviceInfo) bool {
	return l4.Scope == model.ScopeMesh || l4.Scope == model.ScopeNamespace && info.object.Namespace == l4.Namespace
}

// denyAtWaypoint puts the policy on a service whose calls reach bound workloads through its waypoint.
func (p *authPolicy) denyAtWaypoint(l4 *model.Policy, info *serviceInfo, bound map[*model.Workload]bool) {
	m := portMap{info: info, bound: bound}
	for _, b := range info.reach {
		m.foreign = m.foreign || p.services[b] != info
	}
	out := &model.L7Policy{Namespace: l4.Namespace, Name: l4.Name, Action: model.Deny, DryRun: l4.DryRun, Service: info.model.Key()}
	for _, r := range p.object.Spec.Rules {
		if rule, ok := p.waypointRule(r.From, len(r.To), func(i int) (model.L7Operation, bool) {
			op := r.To[i].Operation
			return m.operation(p.ports("", op.Ports), p.ports("", op.NotPorts))
		}); ok {
			out.Rules = append(out.Rules, rule)
		}
	}
	if len(out.Rules) == 0 {
		return
	}
	p.snap.L7Policies[out.Key()+"@"+out.Service] = out
	for _, e := range info.pods {
		if !bound[e.workload] || m.foreign {
			p.status.warn("spec", fmt.Sprintf("waypoint %s refuses these callers for all of Service %s/%s, also for its workloads that the policy does not bind: it decides before it picks one",
				info.use.waypoint.Key(), info.object.Namespace, info.object.Name), "")
			return
		}
	}
}

// denyForWorkloads puts the policy on the waypoints that stand before bound workloads themselves.
func (p *authPolicy) denyForWorkloads(l4 *model.Policy, pods []*podInfo) {
	if l4.Action != model.Deny || len(l4.Rules) == 0 {
		return
	}
	for _, pod := range pods {
		g := pod.workload.Waypoint
		if g == nil {
			continue
		}
		for _, w := range p.snap.Waypoints {
			if w.Hostname != g.Hostname {
				continue
			}
			out := &model.L7Policy{Namespace: l4.Namespace, Name: l4.Name, Action: model.Deny, DryRun: l4.DryRun, Waypoint: w.Key()}
			key := out.Key() + "@" + out.Waypoint
			if p.snap.L7Policies[key] != nil {
				continue
			}
			for _, r := range p.object.Spec.Rules {
				rule, _ := p.waypointRule(r.From, len(r.To), func(i int) (model.L7Operation, bool) {
					if w.For != "workload" {
						return model.L7Operation{}, true // ports of services and of pods are mixed there
					}
					op := r.To[i].Operation
					return model.L7Operation{Ports: p.ports("", op.Ports), NotPorts: p.ports("", op.NotPorts)}, true
				})
				out.Rules = append(out.Rules, rule)
			}
			p.snap.L7Policies[key] = out
		}
	}
}

// waypointRule says a rule about connections as one about requests. ok is false where none of its
// operations can happen.
func (p *authPolicy) waypointRule(from []api.From, operations int, operation func(int) (model.L7Operation, bool)) (model.L7Rule, bool) {
	rule := model.L7Rule{From: p.sources("", from)}
	for i := range operations {
		op, ok := operation(i)
		if !ok {
			continue
		}
		if len(op.Ports)+len(op.NotPorts) == 0 {
			rule.To = nil // one operation is every operation
			return rule, true
		}
		rule.To = append(rule.To, op)
	}
	return rule, operations == 0 || len(rule.To) > 0
}

// portMap turns ports of workloads into ports of a service. Where it cannot tell, the result matches more.
type portMap struct {
	info    *serviceInfo
	bound   map[*model.Workload]bool
	foreign bool // routes lead to other services as well, whose ports have other numbers
}

func (m portMap) operation(ports, notPorts []uint16) (model.L7Operation, bool) {
	if m.foreign {
		return model.L7Operation{}, true
	}
	var out model.L7Operation
	for _, sp := range m.info.model.Ports {
		targets := m.targets(sp)
		if len(targets) == 0 {
			targets = []uint16{sp.TargetPort}
		}
		some := slices.ContainsFunc(targets, func(t uint16) bool { return slices.Contains(ports, t) })
		all := !slices.ContainsFunc(targets, func(t uint16) bool { return !slices.Contains(notPorts, t) })
		if len(ports) > 0 && some {
			out.Ports = append(out.Ports, sp.ServicePort)
		}
		if len(notPorts) > 0 && all {
			out.NotPorts = append(out.NotPorts, sp.ServicePort)
		}
	}
	return out, len(ports) == 0 || len(out.Ports) > 0
}

// targets are the bound workloads' ports behind a service port.
func (m portMap) targets(sp model.Port) []uint16 {
	var out []uint16
	for _, e := range m.info.pods {
		if !m.bound[e.workload] {
			continue
		}
		for _, p := range e.workload.Services[m.info.model.Key()] {
			if p.ServicePort == sp.ServicePort && !slices.Contains(out, p.TargetPort) {
				out = append(out, p.TargetPort)
			}
		}
	}
	return out
}

// refusesWaypoint asks the policy itself whether the service's waypoint may call its first bound workload.
func (p *authPolicy) refusesWaypoint(l4 *model.Policy, info *serviceInfo, bound map[*model.Workload]bool) bool {
	w := info.use.waypoint
	set := policy.Compile([]*model.Policy{l4})
	for _, e := range info.pods {
		if !bound[e.workload] {
			continue
		}
		for _, port := range e.workload.Services[info.model.Key()] {
			conn := policy.Conn{
				Source:   identity.Identity{TrustDomain: w.TrustDomain, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount},
				SourceIP: p.waypointIP(w), Dest: netip.AddrPortFrom(e.workload.Addresses[0], port.TargetPort),
			}
			if !set.Decide(conn).Allowed {
				return true
			}
		}
		return false
	}
	return false
}

// waypointIP is the address of a pod of a waypoint, zero without one.
func (p *authPolicy) waypointIP(w *model.Waypoint) netip.Addr {
	for _, pod := range p.pods.matching(w.Namespace, map[string]string{api.LabelGatewayName: w.Name}) {
		return pod.workload.Addresses[0]
	}
	return netip.Addr{}
}
