package translate

import (
	"cmp"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// What a Telemetry asks for is said in two places. Which log and how many traces: on each route, so that a change
// of them is a change of routes. The logs themselves and the collector of traces: in the listeners, which Envoy has
// them in; so the first Telemetry of a waypoint renews its listeners.

const (
	kindTelemetry = "Telemetry"
	metaLog       = "log" // in a route's metadata: the access log that it is written to
)

// observe says on a route what its narrowest Telemetry asks for.
func (b *builder) observe(t *target, e *entry) []Source {
	var owners []Source
	var logged, traced, counted bool
	for _, a := range b.attached(kindTelemetry, t, nil, nil) {
		if l := a.Telemetry.AccessLog; l != nil && !logged {
			logged = true
			owners = append(owners, attachmentSource(a))
			if !l.Disabled {
				name := a.Namespace + "/" + a.Name
				b.logs[name] = a
				e.route.Metadata.FilterMetadata[metaNS].Fields[metaLog] = structpb.NewStringValue(name)
			}
		}
		if m := a.Telemetry.Metrics; m != nil && !counted {
			counted = true
			owners = append(owners, attachmentSource(a))
			count(e.route, m)
		}
		if tr := a.Telemetry.Tracing; tr != nil && !traced && b.collector() != nil {
			traced = true
			owners = append(owners, attachmentSource(a))
			e.route.Tracing = &routev3.Tracing{
				ClientSampling: percent(100), RandomSampling: percent(tr.Percentage), OverallSampling: percent(100), CustomTags: spanTags(tr.Tags),
			}
		}
	}
	return owners
}

// collector is where the waypoint's spans go: as its Gateway's Telemetry says, else the oldest of those of what it
// serves; nil where none does.
func (b *builder) collector() *model.Attachment {
	if b.collects != nil {
		return *b.collects
	}
	var found *model.Attachment
	for _, a := range b.attachments.all {
		if a.Kind != kindTelemetry || a.Telemetry.Tracing == nil || a.Telemetry.Tracing.Collector == nil || !b.behind(a.Target) {
			continue
		}
		wide := func(x *model.Attachment) int {
			if x.Target.Waypoint != "" {
				return 0
			}
			return 1
		}
		if found == nil || cmp.Or(cmp.Compare(wide(a), wide(found)), a.Created.Compare(found.Created), cmp.Compare(a.Key(), found.Key())) < 0 {
			found = a
		}
	}
	b.collects = &found
	return found
}

// behind reports whether a target is this waypoint, or a service that it serves.
func (b *builder) behind(t model.Target) bool {
	if t.Service == "" {
		return t.Waypoint == b.waypoint.Key()
	}
	s := b.snap.Services[t.Service]
	return s != nil && b.names(s.Waypoint)
}

// tracing is off where nobody said where spans go. A request's own trace decides, where it has one; else its route.
func (b *builder) tracing() *hcmv3.HttpConnectionManager_Tracing {
	a := b.collector()
	if a == nil {
		return nil
	}
	service, err := b.grpcService(*a.Telemetry.Tracing.Collector, 0)
	if err != nil {
		b.problem(attachmentSource(a), "there are no traces: %v", err)
		return nil
	}
	b.ownListeners(attachmentSource(a))
	return &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling: &typev3.Percent{Value: 100}, RandomSampling: &typev3.Percent{Value: 0}, OverallSampling: &typev3.Percent{Value: 100},
		SpawnUpstreamSpan: yes(),
		CustomTags: []*tracingv3.CustomTag{
			{Tag: "weft.source.identity", Type: &tracingv3.CustomTag_Value{Value: "%FILTER_STATE(" + statePeer + ":PLAIN)%"}},
			{Tag: "weft.service", Type: &tracingv3.CustomTag_Metadata_{Metadata: &tracingv3.CustomTag_Metadata{
				Kind: &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Route_{Route: &metadatav3.MetadataKind_Route{}}},
				MetadataKey: &metadatav3.MetadataKey{Key: metaNS, Path: []*metadatav3.MetadataKey_PathSegment{{
					Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: TagService},
				}}},
			}}},
		},
		Provider: &tracev3.Tracing_Http{Name: "otlp", ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(&tracev3.OpenTelemetryConfig{
			GrpcService: service, ServiceName: b.waypoint.Namespace + "/" + b.waypoint.Name,
		})}},
	}
}

func spanTags(in []model.SpanTag) []*tracingv3.CustomTag {
	var out []*tracingv3.CustomTag
	for _, tag := range in {
		t := &tracingv3.CustomTag{Tag: tag.Name, Type: &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: tag.Literal}}}
		if tag.Header != "" {
			t.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: tag.Header}}
		}
		out = append(out, t)
	}
	return out
}

// withTraces tells apart requests by the trace that they come with: Envoy's own decision is by percentage alone, and
// would drop what a caller records. A route with traces becomes three.
func withTraces(routes []*routev3.Route) []*routev3.Route {
	var out []*routev3.Route
	for _, r := range routes {
		if r.Tracing == nil {
			out = append(out, r)
			continue
		}
		for _, parent := range []struct {
			flags  string
			record float64
		}{{"[13579bdf]", 100}, {"[02468ace]", 0}} {
			c := proto.Clone(r).(*routev3.Route)
			c.Match.Headers = append(c.Match.Headers, headerRegex("traceparent", "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]"+parent.flags+".*"))
			c.Tracing.RandomSampling = percent(parent.record)
			if parent.record > 0 {
				passTrace(c, true)
			}
			out = append(out, c)
		}
		passTrace(r, false)
		out = append(out, r)
	}
	return out
}

// ownListeners names what the listeners with requests were made from.
func (b *builder) ownListeners(sources ...Source) {
	for _, name := range []string{listenHTTP, listenAuto} {
		b.res.own(resource.ListenerType, name, sources...)
	}
}

// logsInOrder are the logs that routes write to.
func (b *builder) logsInOrder() []*model.Attachment {
	var out []*model.Attachment
	for _, name := range sortedKeys(b.logs) {
		out = append(out, b.logs[name])
	}
	return slices.Clip(out)
}
