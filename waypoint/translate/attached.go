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

// indexAttachments sorts the snapshot's attachments, but for those that Envoy refused, which are left out.
// A kind that must fail closed answers for that itself: it asks b.refused.
func (b *builder) indexAttachments() {
	for _, a := range sorted(b.snap.Attachments) {
		if why, bad := b.cfg.Refused[attachmentSource(a)]; bad {
			b.problem(attachmentSource(a), "not in force, Envoy refuses it: %s", why)
			b.refused = append(b.refused, a)
			continue
		}
		b.attachments = append(b.attachments, a)
	}
	slices.SortStableFunc(b.attachments, (*model.Attachment).Compare)
}

// attached lists the policies of a kind that concern requests of a target that take a rule of a route, the
// narrowest first. Route and rule are nil where none is taken.
func (b *builder) attached(kind string, t *target, r *model.Route, rule *model.RouteRule) []*model.Attachment {
	return b.concerning(b.attachments, kind, t, r, rule)
}

func (b *builder) concerning(list []*model.Attachment, kind string, t *target, r *model.Route, rule *model.RouteRule) []*model.Attachment {
	var out []*model.Attachment
	for _, a := range list {
		if a.Kind == kind && b.concerns(a.Target, t, r, rule) {
			out = append(out, a)
		}
	}
	return out
}

func (b *builder) concerns(a model.Target, t *target, r *model.Route, rule *model.RouteRule) bool {
	switch {
	case a.Route != "":
		return r != nil && a.Route == r.Key() && (a.Rule == "" || rule != nil && a.Rule == rule.Name)
	case a.Service != "":
		return a.Service == t.serviceKey() && (a.Port == 0 || a.Port == t.port)
	}
	return a.Waypoint == b.waypoint.Key()
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
