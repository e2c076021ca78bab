package translate

import (
	"fmt"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermetav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// A rule of a rate limit becomes a descriptor: which rule it is, that the request matches, and the value of each
// property that is counted by. Whoever counts, here or at a rate limit service, has a counter for each.
const (
	kindRateLimit = "RateLimit"

	limitKey     = "limit" // namespace/name/index of the rule
	limitMatch   = "match"
	metaCallerNS = "caller_namespace" // metadata: the caller's namespace
	metaPath     = "path"             // metadata: the path without its query
)

// limitRequests counts a route's requests by the narrowest policy that concerns them.
func (b *builder) limitRequests(t *target, e *entry) []Source {
	list := b.attached(kindRateLimit, t, e.of, e.rule)
	for _, a := range b.concerning(&b.refused, kindRateLimit, t, e.of, e.rule) {
		if len(list) == 0 || a.Target.Breadth() <= list[0].Target.Breadth() {
			return b.unlimitable(e, a, "Envoy refuses it")
		}
	}
	if len(list) == 0 {
		return nil
	}
	a := list[0]
	if a.RateLimit.Broken != "" {
		return b.unlimitable(e, a, a.RateLimit.Broken)
	}
	limits, err := limitsOf(a)
	if err != nil {
		return b.unlimitable(e, a, err.Error())
	}
	if a.RateLimit.Global == nil {
		b.limitHere(t, e, a, limits)
	} else if err := b.limitTogether(e, a, limits); err != nil {
		return b.unlimitable(e, a, err.Error())
	}
	perFilter(e.route, filterCaller, callerMetadata())
	if a.RateLimit.Headers {
		perFilter(e.route, filterLimits, limitHeaders())
		t.tellsLimits = true
	}
	return []Source{attachmentSource(a)}
}

// unlimitable closes a route whose limit cannot be enforced, unless the policy says otherwise.
func (b *builder) unlimitable(e *entry, a *model.Attachment, why string) []Source {
	if !a.RateLimit.Closed() {
		b.problem(attachmentSource(a), "nothing is counted: %s", why)
		return []Source{attachmentSource(a)}
	}
	b.problem(attachmentSource(a), "requests of %s are answered 503: %s", a.Target, why)
	body := fmt.Sprintf("RateLimit %s/%s cannot be enforced\n", a.Namespace, a.Name)
	e.route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 503, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: body}},
	}}
	return []Source{attachmentSource(a)}
}

// limitsOf makes the descriptors of a policy's rules.
func limitsOf(a *model.Attachment) ([]*routev3.RateLimit, error) {
	var out []*routev3.RateLimit
	for i, r := range a.RateLimit.Rules {
		l := &routev3.RateLimit{Actions: []*routev3.RateLimit_Action{{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
			GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: limitKey, DescriptorValue: limitName(a, i)},
		}}}}
		if r.Narrowed() {
			m, err := limitMatcher(&r)
			if err != nil {
				return nil, fmt.Errorf("rule %d: %w", i, err)
			}
			l.Actions = append(l.Actions, m)
		}
		for _, k := range r.By {
			l.Actions = append(l.Actions, limitBy(k))
		}
		if a.RateLimit.Headers {
			l.XRatelimitOption = routev3.RateLimit_DRAFT_VERSION_03
		}
		if err := l.ValidateAll(); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func limitName(a *model.Attachment, rule int) string {
	return a.Namespace + "/" + a.Name + "/" + strconv.Itoa(rule)
}

func limitMatcher(r *model.LimitRule) (*routev3.RateLimit_Action, error) {
	m := model.RouteMatch{}
	if r.Match != nil {
		m = *r.Match
	}
	c, err := conditions(m)
	if err != nil {
		return nil, err
	}
	path, err := pathCondition(m)
	if err != nil {
		return nil, err
	}
	if path != nil {
		c.headers = append(c.headers, path)
	}
	if len(r.From) > 0 {
		c.headers = append(c.headers, headerRegex(headerPeer, callersPattern(r.From)))
	}
	if len(c.headers) == 0 {
		c.headers = append(c.headers, headerRegex(":path", ".*"))
	}
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
		HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{DescriptorKey: limitMatch, DescriptorValue: "yes", Headers: c.headers},
	}}, nil
}

func limitBy(k model.LimitKey) *routev3.RateLimit_Action {
	header := func(name string) *routev3.RateLimit_Action {
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			// A caller without the header is not free: the descriptor then lacks the entry, and is counted all the same.
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: name, DescriptorKey: limitEntry(k), SkipIfAbsent: true},
		}}
	}
	switch k.Type {
	case model.LimitIdentity:
		return header(headerPeer)
	case model.LimitMethod:
		return header(":method")
	case model.LimitHost:
		return header(":authority")
	case model.LimitAddress:
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddress_{RemoteAddress: &routev3.RateLimit_Action_RemoteAddress{}}}
	case model.LimitNamespace:
		return limitMetadata(k, metaCallerNS)
	case model.LimitPath:
		return limitMetadata(k, metaPath)
	}
	return header(k.Name)
}

func limitMetadata(k model.LimitKey, field string) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Metadata{Metadata: &routev3.RateLimit_Action_MetaData{
		DescriptorKey: limitEntry(k), DefaultValue: "-",
		MetadataKey: &metadatav3.MetadataKey{Key: metaNS, Path: []*metadatav3.MetadataKey_PathSegment{{
			Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: field},
		}}},
	}}}
}

// limitEntry is the key of a descriptor's entry.
func limitEntry(k model.LimitKey) string {
	if k.Type == model.LimitAddress {
		return "remote_address" // Envoy's own name
	}
	return strings.ToLower(k.Type + k.Name)
}

// callerMetadata takes apart what is counted by.
func callerMetadata() *anypb.Any {
	part := func(header, key, pattern string) *headermetav3.Config_Rule {
		return &headermetav3.Config_Rule{Header: header, OnHeaderPresent: &headermetav3.Config_KeyValuePair{
			MetadataNamespace: metaNS, Key: key,
			RegexValueRewrite: &matcherv3.RegexMatchAndSubstitute{Pattern: regex(pattern), Substitution: `\1`},
		}}
	}
	return pack(&headermetav3.Config{RequestRules: []*headermetav3.Config_Rule{
		part(headerPeer, metaCallerNS, `^`+spiffe+`[^/]+/ns/([^/]+)/.*$`),
		part(":path", metaPath, `^([^?]*).*$`),
	}})
}
