package cli

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

type verdict int

const (
	allowed verdict = iota
	depends         // on what was not said, or on which endpoint is drawn
	refused
)

// answer is what `why` says.
type answer struct {
	verdict             verdict
	source, destination string
	hops                []hop
	advice              []string
}

// hop is one place where the connection is judged.
type hop struct {
	where string
	lines []string
}

func (h *hop) say(format string, a ...any) { h.lines = append(h.lines, fmt.Sprintf(format, a...)) }

// worsen makes the answer no better than v.
func (a *answer) worsen(v verdict) { a.verdict = max(a.verdict, v) }

func (a *answer) advise(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(a.advice, line) {
		a.advice = append(a.advice, line)
	}
}

// explainer holds what one explanation needs.
type explainer struct {
	snap *model.Snapshot
	idx  *index.Index
	answer
	src    *model.Workload
	target target
	user   endUser // of the request, once its token has been looked at

	byWaypoint bool // who calls the endpoints is a waypoint
}

// explain judges a connection, and a request in it, by the very functions that ztunnels use. Pure.
func explain(snap *model.Snapshot, source, destination string, req request) (*answer, error) {
	src, err := findWorkload(snap, source)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	t, err := findTarget(snap, src, destination)
	if err != nil {
		return nil, fmt.Errorf("destination: %w", err)
	}
	x := &explainer{snap: snap, idx: index.FromSnapshot(snap), src: src, target: t}
	x.source, x.destination = workloadText(src), t.text()
	x.leave()
	switch {
	case x.verdict == refused:
	case x.gateway() != nil && src.Protocol == model.HBONE && !src.NativeTunnel:
		x.viaWaypoint(x.gateway(), req)
	default:
		if !req.empty() {
			x.hops[0].say("method, path, headers and tokens are not looked at: no waypoint stands between the two")
		}
		x.arrive(t.endpoints, x.callerIdentity(), firstAddr(src))
	}
	return &x.answer, nil
}

// gateway is the waypoint that the destination names, nil none.
func (x *explainer) gateway() *model.Gateway {
	switch t := x.target; {
	case t.service != nil:
		return t.service.Waypoint
	case len(t.endpoints) > 0:
		return t.endpoints[0].workload.Waypoint
	}
	return nil
}

// callerIdentity is what the other side can verify: nothing of a pod outside the mesh.
func (x *explainer) callerIdentity() identity.Identity {
	if x.src.Protocol == model.HBONE {
		return x.src.Identity()
	}
	return identity.Identity{}
}

// rangeOf is the range of pods or Services that an address is of, nil none.
func (x *explainer) rangeOf(address string) *model.Range {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil
	}
	return x.idx.RangeOf(a)
}

// leave tells how the connection leaves the source.
func (x *explainer) leave() {
	h := hop{where: "Leaving " + placeText(x.src)}
	t := x.target
	switch {
	case x.src.Protocol != model.HBONE:
		h.say("it is not in the mesh: the connection leaves in clear text, without an identity")
		x.advise("enrol the caller: label its namespace %s with weft.dev/dataplane-mode=ambient", x.src.Namespace)
	case t.service == nil && len(t.endpoints) == 0 && x.rangeOf(t.said) != nil:
		h.say("nobody is known at %s, which is of %s: refused", t.text(), x.rangeOf(t.said))
		x.verdict = refused
		x.advise("see whether the pod is there (kubectl get pods -A -o wide); if it is, whether the controller sees it (weftctl get workloads)")
	case t.service == nil && len(t.endpoints) == 0:
		h.say("its ztunnel knows nothing at %s and passes the connection through in clear text", t.text())
	default:
		h.say("its ztunnel speaks for it as %s", x.src.Identity())
	}
	x.sayConnFault(&h)
	x.sayCarriage(&h)
	x.saySamples(&h)
	if t.service != nil && t.noPort {
		h.say("service %s has no port %d, only %s", serviceName(t.service), t.port, join(t.service.Ports, portText))
		x.worsen(refused)
		x.advise("call one of the service's ports, or add the port to it")
	} else if t.service != nil && len(t.endpoints) == 0 && t.service.Waypoint == nil {
		h.say("service %s has no healthy endpoint: refused", serviceName(t.service))
		x.worsen(refused)
		x.advise("see why its pods are not ready, or whether its selector finds any: weftctl get workloads -n %s", t.service.Namespace)
	}
	x.hops = append(x.hops, h)
	if x.src.Protocol != model.HBONE {
		x.advice = nil // only said when the missing identity is what matters
	}
}

// arrive judges at the endpoints' ztunnels. Endpoints may differ: then it depends on which one is drawn.
func (x *explainer) arrive(endpoints []endpoint, caller identity.Identity, from netip.Addr) {
	yes, no := 0, 0
	for _, ep := range endpoints {
		h := hop{where: ztunnelText(ep)}
		if x.judge(&h, ep, caller, from) {
			yes++
		} else {
			no++
		}
		x.hops = append(x.hops, h)
	}
	switch {
	case no > 0 && yes > 0:
		x.worsen(depends)
	case no > 0:
		x.worsen(refused)
	}
}

// judge decides at one endpoint and reports whether it lets the connection in.
func (x *explainer) judge(h *hop, ep endpoint, caller identity.Identity, from netip.Addr) bool {
	w := ep.workload
	if w.Protocol != model.HBONE {
		return x.arriveOutside(h, ep)
	}
	if w.NativeTunnel {
		h.where = "At waypoint " + placeText(w)
		h.say("it terminates the tunnel itself")
		return true
	}
	policies, missing := x.idx.PoliciesFor(w)
	if len(missing) > 0 {
		h.say("policies %v are listed for it but not known: refused until they are", missing)
		return false
	}
	set := policy.Compile(policies)
	v := set.Decide(policy.Conn{Source: caller, SourceIP: from, Dest: netip.AddrPortFrom(firstAddr(w), ep.port)})
	for _, name := range v.DryRun {
		h.say("dry run: %s would refuse it", policyText(name))
	}
	switch {
	case v.Allowed && v.Policy == "" && len(policies) == 0:
		h.say("allowed: no policy applies")
	case v.Allowed && v.Policy == "":
		h.say("allowed: %s (%d apply)", v.Reason, len(policies))
	case v.Allowed:
		h.say("allowed by %s, rule %d", policyText(v.Policy), v.Rule+1)
	default:
		x.sayRefused(h, v, policies, caller, w)
	}
	if v.Allowed && set.Plain() {
		x.saySameNode(h, w)
	}
	return v.Allowed
}

// saySameNode tells that the connection may go past the ztunnel: whether it does is a setting of the agents.
func (x *explainer) saySameNode(h *hop, w *model.Workload) {
	s := x.target.service
	if x.src.Node == "" || x.src.Node != w.Node || x.src.UID == w.UID || x.src.Protocol != model.HBONE || w.Waypoint != nil ||
		s != nil && (s.Waypoint != nil || len(s.Faults) > 0 || s.Carried(x.target.port) != nil) {
		return
	}
	h.say("caller and pod are on one node: it goes straight through the kernel where %s=%s of both namespaces, or sameNode.direct of the mesh, says so (same_node in metrics and logs), else by the tunnel",
		api.LabelSameNode, api.SameNodeDirect)
}

func (x *explainer) sayRefused(h *hop, v policy.Verdict, policies []*model.Policy, caller identity.Identity, w *model.Workload) {
	who := caller.String()
	if caller.IsZero() {
		who = "a caller without an identity"
	}
	switch kind, name := objectOf(v.Policy); {
	case kind == "RequestAuthentication":
		h.say("refused by RequestAuthentication %s: it requires a token, and no ztunnel sees one", name)
		x.advise("give the service a waypoint: label it weft.dev/use-waypoint")
	case v.Rule != policy.NoRule:
		x.sayDenied(h, v, who)
	case !slices.ContainsFunc(policies, func(p *model.Policy) bool { return p.Action == model.Allow && !p.DryRun }):
		h.say("refused: %s", v.Reason)
	default:
		h.say("refused: ALLOW policies apply and none of their rules matches %s", who)
		for _, p := range policies {
			if p.Action == model.Allow && !p.DryRun {
				h.say("policy %s: %s", p.Key(), describeRules(p))
				x.advise("add %s to a rule of policy %s if this caller is to be let in", principalText(caller), p.Key())
			}
		}
	}
	for _, p := range policies {
		if kind, _ := objectOf(p.Key()); p.Unsupported != "" && kind != "RequestAuthentication" {
			h.say("policy %s asks what a ztunnel cannot see (%s), so it refuses: give the service a waypoint", p.Key(), p.Unsupported)
		}
	}
	if caller.IsZero() && x.src.Protocol != model.HBONE {
		x.advise("or enrol the caller, so that it has an identity: label namespace %s with weft.dev/dataplane-mode=ambient", x.src.Namespace)
	}
}

// sayDenied names the rule, or the object that it was made of.
func (x *explainer) sayDenied(h *hop, v policy.Verdict, who string) {
	if kind, name := objectOf(v.Policy); kind == "PeerAuthentication" {
		h.say("refused by PeerAuthentication %s, which is STRICT here: it matches %s", name, who)
		x.advise("set PeerAuthentication %s to PERMISSIVE, or one of this workload or port, if plaintext is to be let in", name)
		return
	}
	h.say("refused by DENY %s, rule %d: it matches %s", policyText(v.Policy), v.Rule+1, who)
	x.advise("change rule %d of %s if this caller is to be let in", v.Rule+1, policyText(v.Policy))
}

func principalText(id identity.Identity) string {
	if id.IsZero() {
		return "the caller's address (it has no identity)"
	}
	return "principal " + id.Principal()
}
