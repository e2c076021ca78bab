package translate

import (
	"maps"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/model"
)

// headerLimited on an answer 429 says why.
const headerLimited = "x-weft-limited-by"

// limitHere has this pod count: routes say which descriptors a request has, the buckets are the virtual host's, so
// that all routes of a port, and their copies for faults, draw from the same.
func (b *builder) limitHere(t *target, e *entry, a *model.Attachment, limits []*routev3.RateLimit) {
	if r := e.route.GetRoute(); r != nil {
		r.RateLimits = append(r.RateLimits, limits...)
	}
	if t.limits == nil {
		t.limits = map[string]*model.Attachment{}
	}
	t.limits[a.Key()] = a
}

// buckets gives a virtual host the buckets of all policies of its routes.
func (t *target) buckets(vh *routev3.VirtualHost) {
	if len(t.limits) == 0 {
		return
	}
	const unlimited = math.MaxUint32
	out := &localv3.LocalRateLimit{
		StatPrefix:                      "limit",
		TokenBucket:                     bucket(unlimited, unlimited, time.Second), // of requests without descriptors
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
		FilterEnabled:                   always(),
		FilterEnforced:                  always(),
		RateLimitedAsResourceExhausted:  true,
		EnableRetryAfterHeader:          true,
	}
	keys, names := uint32(1), ""
	seen := map[string]bool{} // of several targets of one policy
	for _, key := range sortedKeys(t.limits) {
		a := t.limits[key]
		name := a.Namespace + "/" + a.Name
		if seen[name] {
			continue
		}
		seen[name] = true
		if names += ", RateLimit " + name; a.RateLimit.MaxKeys > keys {
			keys = a.RateLimit.MaxKeys
		}
		for i, r := range a.RateLimit.Rules {
			out.Descriptors = append(out.Descriptors, localDescriptors(limitName(a, i), r, a.RateLimit.DryRun)...)
		}
	}
	out.MaxDynamicDescriptors = u32(keys)
	out.ResponseHeadersToAdd = []*corev3.HeaderValueOption{setHeader(headerLimited, names[2:])}
	vh.TypedPerFilterConfig = maps.Clone(vh.TypedPerFilterConfig)
	if vh.TypedPerFilterConfig == nil {
		vh.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	vh.TypedPerFilterConfig[filterLocalLimit] = pack(out)
}

// localDescriptors are a rule's buckets: an entry without a value stands for each value that is met, and for
// requests without a header there are buckets without it.
func localDescriptors(name string, r model.LimitRule, dryRun bool) []*ratelimitv3.LocalRateLimitDescriptor {
	entries := []*ratelimitv3.RateLimitDescriptor_Entry{{Key: limitKey, Value: name}}
	if r.Narrowed() {
		entries = append(entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: limitMatch, Value: "yes"})
	}
	sets := [][]*ratelimitv3.RateLimitDescriptor_Entry{entries}
	for _, k := range r.By {
		var with [][]*ratelimitv3.RateLimitDescriptor_Entry
		for _, s := range sets {
			with = append(with, append(slices.Clone(s), &ratelimitv3.RateLimitDescriptor_Entry{Key: limitEntry(k)}))
		}
		if k.Type == model.LimitHeader {
			with = append(with, sets...)
		}
		sets = with
	}
	var out []*ratelimitv3.LocalRateLimitDescriptor
	for _, s := range sets {
		out = append(out, &ratelimitv3.LocalRateLimitDescriptor{Entries: s, TokenBucket: bucket(r.Burst, r.Requests, r.Per), ShadowMode: dryRun})
	}
	return out
}

func bucket(most, tokens uint32, every time.Duration) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: most, TokensPerFill: u32(tokens), FillInterval: seconds(every)}
}

func always() *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: percent(100)}
}

func never() *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: percent(0)}
}
