package translate

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// Policies of the further kinds reach a waypoint as attachments. What they ask of requests is said on each of a
// target's routes, what they ask of connections on its cluster; each kind has a file of its own, and the
// filters that it switches on have their place in filters.go.

func attachmentSource(a *model.Attachment) Source { return Source{a.Kind, a.Namespace, a.Name} }

// attachments are policies by where they are attached.
type attachments struct {
	all []*model.Attachment // the narrowest first
	at  map[kindAt][]*model.Attachment
}

// kindAt is where policies of a kind are attached.
type kindAt struct {
	kind   string
	target model.Target
}

func (l *attachments) add(a *model.Attachment) {
	if l.at == nil {
		l.at = map[kindAt][]*model.Attachment{}
	}
	l.all = append(l.all, a)
	at := kindAt{a.Kind, a.Target}
	l.at[at] = append(l.at[at], a)
}

// indexAttachments sorts the snapshot's attachments, but for those that Envoy refused, which are left out.
// A kind that must fail closed answers for that itself: it asks b.refused.
func (b *builder) indexAttachments() {
	list := sorted(b.snap.Attachments)
	slices.SortStableFunc(list, (*model.Attachment).Compare)
	for _, a := range list {
		if why, bad := b.cfg.Refused[attachmentSource(a)]; bad {
			b.problem(attachmentSource(a), "not in force, Envoy refuses it: %s", why)
			b.refused.add(a)
			continue
		}
		b.attachments.add(a)
	}
}

// attached lists the policies of a kind that concern requests of a target that take a rule of a route, the
// narrowest first. Route and rule are nil where none is taken.
func (b *builder) attached(kind string, t *target, r *model.Route, rule *model.RouteRule) []*model.Attachment {
	return b.concerning(&b.attachments, kind, t, r, rule)
}

func (b *builder) concerning(l *attachments, kind string, t *target, r *model.Route, rule *model.RouteRule) []*model.Attachment {
	var out []*model.Attachment
	at := func(target model.Target) { out = append(out, l.at[kindAt{kind, target}]...) }
	if r != nil {
		if rule != nil && rule.Name != "" {
			at(model.Target{Route: r.Key(), Rule: rule.Name})
		}
		at(model.Target{Route: r.Key()})
	}
	if service := t.serviceKey(); service != "" {
		at(model.Target{Service: service, Port: t.port})
		at(model.Target{Service: service})
	}
	at(model.Target{Waypoint: b.waypoint.Key()})
	return out
}

// onRoute says on a route what the policies attached to it, and to all around it, ask for.
func (b *builder) onRoute(t *target, e *entry) []Source {
	var owners []Source
	for _, feature := range []func(*target, *entry) []Source{
		b.limitRequests,
		b.draining,
		b.trafficOnRoute,
		b.extend,
		b.observe,
	} {
		owners = append(owners, feature(t, e)...)
	}
	return owners
}

// onCluster says on a target's cluster what the policies attached to its service ask for.
func (b *builder) onCluster(t *target, c *clusterv3.Cluster) []Source {
	var owners []Source
	for _, feature := range []func(*target, *clusterv3.Cluster) []Source{b.trafficOnCluster} {
		owners = append(owners, feature(t, c)...)
	}
	return append(owners, b.patchCluster(t, c)...)
}

// perFilter switches a filter on for a route.
func perFilter(r *routev3.Route, filter string, config *anypb.Any) {
	if r.TypedPerFilterConfig == nil {
		r.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.TypedPerFilterConfig[filter] = config
}
