package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// attached lists the policies of a kind that concern a request at a waypoint, the narrowest first. Route and rule are
// nil where none takes it.
func (x *explainer) attached(wp *model.Waypoint, kind string, route *model.Route, rule *model.RouteRule) []*model.Attachment {
	targets := []model.Target{{Waypoint: wp.Key()}}
	if route != nil {
		targets = append(targets, model.Target{Route: route.Key()})
		if rule != nil && rule.Name != "" {
			targets = append(targets, model.Target{Route: route.Key(), Rule: rule.Name})
		}
	}
	if s := x.target.service; s != nil {
		targets = append(targets, model.Target{Service: s.Key()}, model.Target{Service: s.Key(), Port: x.target.port})
	}
	var out []*model.Attachment
	for _, a := range x.snap.Attachments {
		if a.Kind == kind && slices.Contains(targets, a.Target) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, (*model.Attachment).Compare)
	return out
}

// sayAttached tells what the further policies do to a request that was let in, in the order in which it passes them.
func (x *explainer) sayAttached(h *hop, wp *model.Waypoint, route *model.Route, rule *model.RouteRule, req request) {
	if x.noRequests() {
		x.sayIdle(h, wp)
		return
	}
	x.sayLimit(h, x.attached(wp, "RateLimit", route, rule), req)
	x.sayExtensions(h, x.attached(wp, "Extension", route, rule), req)
	for _, a := range x.attached(wp, "EnvoyPatch", nil, nil) {
		h.say("EnvoyPatch %s changes Envoy itself here (%s): what comes of it is not known to why", attachmentName(a), patchText(a.Patch))
	}
	x.sayTelemetry(h, x.attached(wp, "Telemetry", nil, nil))
}

// sayIdle names policies on requests that have nothing to do on a TCP port.
func (x *explainer) sayIdle(h *hop, wp *model.Waypoint) {
	for _, kind := range []string{"RateLimit", "Extension"} {
		if list := x.attached(wp, kind, nil, nil); len(list) > 0 {
			h.say("%s %s does nothing here: it is about requests, and this is a TCP port", kind, namesOf(list))
		}
	}
}

func patchText(p *model.EnvoyPatch) string {
	var out []string
	for _, r := range p.Patches {
		if text := "a patch of " + r.Type; !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if n := len(p.Filters); n > 0 {
		out = append(out, fmt.Sprintf("%d more filters", n))
	}
	return strings.Join(out, ", ")
}

// askedText names a service that a waypoint asks, and warns where nobody would answer.
func (x *explainer) askedText(s model.ServicePort) string {
	text := fmt.Sprintf("service %s port %d", s.Service, s.Port)
	if m := x.snap.Services[s.Service]; m != nil {
		text = fmt.Sprintf("service %s port %d", serviceName(m), s.Port)
	}
	if !x.answers(s) {
		text += " (no endpoints now)"
	}
	return text
}

// answers reports whether a service that is asked has anybody who could answer.
func (x *explainer) answers(s model.ServicePort) bool {
	m := x.snap.Services[s.Service]
	return m != nil && len(serviceEndpoints(x.snap, m, s.Port)) > 0
}

func attachmentName(a *model.Attachment) string { return a.Namespace + "/" + a.Name }

func namesOf(list []*model.Attachment) string {
	var out []string
	for _, a := range list {
		if name := attachmentName(a); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return strings.Join(out, ", ")
}

// byPriority puts extensions in the order in which they see requests.
func byPriority(list []*model.Attachment) []*model.Attachment {
	var out []*model.Attachment
	for _, a := range list {
		if !slices.ContainsFunc(out, func(o *model.Attachment) bool { return attachmentName(o) == attachmentName(a) }) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(x, y *model.Attachment) int {
		return cmp.Or(cmp.Compare(x.Extension.Priority, y.Extension.Priority), x.Created.Compare(y.Created), cmp.Compare(attachmentName(x), attachmentName(y)))
	})
	return out
}
