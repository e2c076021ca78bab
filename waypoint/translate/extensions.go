package translate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// Extensions of a request, of whatever kind, stand in its route: the listener has composite filters at rest, and a
// route gives each of its extensions to the next of them. So neither a new extension nor a change of one touches a
// listener, whose update would end long-lived streams of all services.
//
// One composite filter could take a chain of several. It must not: what stands behind a filter that waits, for an
// external processor or a body, is passed over when that goes on.

const kindExtension = "Extension"

// maxExtensions of one request.
const maxExtensions = 8

// extensionFilters are the places for extensions, in their order.
func extensionFilters() []*hcmv3.HttpFilter {
	out := make([]*hcmv3.HttpFilter, maxExtensions)
	for i := range out {
		out[i] = httpFilterOff(extensionPlace(i), &compositev3.Composite{})
	}
	return out
}

func extensionPlace(i int) string { return fmt.Sprintf("%s.%d", filterExtension, i+1) }

// extensionsOf lists the extensions of requests that take a rule, in the order in which they see them. All
// targets count, not the narrowest alone.
func (b *builder) extensionsOf(list *attachments, t *target, e *entry) []*model.Attachment {
	var out []*model.Attachment
	for _, a := range b.concerning(list, kindExtension, t, e.of, e.rule) {
		same := func(o *model.Attachment) bool { return o.Namespace == a.Namespace && o.Name == a.Name }
		if a.Extension != nil && !slices.ContainsFunc(out, same) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(x, y *model.Attachment) int {
		return cmp.Or(cmp.Compare(x.Extension.Priority, y.Extension.Priority), x.Created.Compare(y.Created), cmp.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name))
	})
	return out
}

// extend puts a route's extensions on it. Where one that may not be missing cannot be run, the route refuses.
func (b *builder) extend(t *target, e *entry) []Source {
	var owners []Source
	for _, a := range b.extensionsOf(&b.refused, t, e) {
		owners = append(owners, attachmentSource(a))
		if !a.Extension.FailOpen {
			refuse(e, "extension "+a.Namespace+"/"+a.Name+" is refused by the waypoint")
		}
	}
	place := 0
	for _, a := range b.extensionsOf(&b.attachments, t, e) {
		owners = append(owners, attachmentSource(a))
		name := a.Namespace + "/" + a.Name
		filter, err := b.extensionFilter(name, a.Extension)
		if err == nil && place == maxExtensions {
			err = fmt.Errorf("a request takes %d extensions at most, and older ones or those of lower priority have the places", maxExtensions)
		}
		switch {
		case err == nil:
			perFilter(e.route, extensionPlace(place), pack(runs(name, pack(filter))))
			place++
		case a.Extension.FailOpen:
			b.problem(attachmentSource(a), "not in force: %v", err)
		default:
			b.problem(attachmentSource(a), "its requests are refused, for it cannot be run: %v", err)
			refuse(e, "extension "+name+" cannot be run")
		}
	}
	return append(owners, b.patchFilters(t, e, place)...)
}

// extensionFilter is the filter that runs one extension.
func (b *builder) extensionFilter(name string, x *model.Extension) (proto.Message, error) {
	switch {
	case x.Invalid != "":
		return nil, errors.New(x.Invalid)
	case x.Lua != "":
		return luaFilter(name, x), nil
	case x.ExtProc != nil:
		return b.extProcFilter(x)
	case x.Wasm != nil:
		return wasmFilter(name, x), nil
	}
	return nil, errors.New("there is nothing to run")
}

// runs is the way of saying: this filter, always.
func runs(name string, filter *anypb.Any) *compositev3.CompositePerRoute {
	return &compositev3.CompositePerRoute{Matcher: &matcherv3.Matcher{OnNoMatch: &matcherv3.Matcher_OnMatch{
		OnMatch: &matcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
			Name: "run", TypedConfig: pack(&compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: filter}}),
		}},
	}}}
}

// refuse answers a route's requests with a server error.
func refuse(e *entry, why string) {
	kind := ""
	if e.of != nil {
		kind = e.of.Kind
	}
	fail(e.route, kind, why)
}

// hoistExtensions says once for a virtual host what all its routes say: each saying makes its own copy in Envoy, and
// a copy of an extension is a machine of its own for each worker.
func hoistExtensions(vh *routev3.VirtualHost) {
	for i := range maxExtensions {
		hoist(vh, extensionPlace(i))
	}
}

func hoist(vh *routev3.VirtualHost, filter string) {
	var all *anypb.Any
	for i, r := range vh.Routes {
		config := r.TypedPerFilterConfig[filter]
		if config == nil || i > 0 && !proto.Equal(all, config) {
			return
		}
		all = config
	}
	if all == nil {
		return
	}
	for _, r := range vh.Routes {
		delete(r.TypedPerFilterConfig, filter)
	}
	configs := maps.Clone(vh.TypedPerFilterConfig)
	if configs == nil {
		configs = map[string]*anypb.Any{}
	}
	configs[filter], vh.TypedPerFilterConfig = all, configs
}
