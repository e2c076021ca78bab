package translate

import (
	"errors"
	"fmt"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// A CUSTOM policy asks a service about the requests that its rules match. Two filters do so: one evaluates
// the rules as in a dry run and leaves the name of the rule that matched in the request's metadata, the
// other asks where it finds one. There are two pairs, for a service and its waypoint may both have such a
// policy.
var customSlots = []customSlot{
	{filterAskWaypoint, "weft_ask_waypoint_"},
	{filterAskService, "weft_ask_service_"},
}

type customSlot struct {
	filter string // that asks
	prefix string // of the metadata that the rules leave
}

// ruleFilter makes the name of the filter that evaluates the rules.
const ruleFilter = ".match"

func (s customSlot) matches() string { return s.filter + ruleFilter }

func slotOf(p *model.L7Policy) customSlot {
	if p.Service == "" {
		return customSlots[0]
	}
	return customSlots[1]
}

func customNames() []string {
	var out []string
	for _, s := range customSlots {
		out = append(out, s.matches(), s.filter)
	}
	return out
}

// custom compiles a policy that asks; false where it cannot, and then its rules refuse.
func (b *builder) custom(out map[string]*anypb.Any, p *model.L7Policy, rules map[string]*rbacv3.Policy) bool {
	s := slotOf(p)
	if out[s.filter] != nil {
		b.problem(policySource(p), "refuses what it matches: another CUSTOM policy has the same target")
		return false
	}
	ask := askFilter(p.External, s)
	if err := b.askWhom(ask, p.External); err != nil {
		b.problem(policySource(p), "refuses what it matches: %v", err)
		return false
	}
	if len(rules) == 0 {
		return true // nothing can match here
	}
	out[s.matches()] = pack(&rbacfilterv3.RBACPerRoute{Rbac: &rbacfilterv3.RBAC{
		ShadowRules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: rules}, ShadowRulesStatPrefix: s.prefix,
	}})
	out[s.filter] = executeAll("ask", callerHeader(b), &corev3.TypedExtensionConfig{Name: "ext_authz", TypedConfig: pack(ask)})
	return true
}

// callerHeader tells the service who calls, in the header that the application gets, too.
func callerHeader(b *builder) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: "caller", TypedConfig: pack(&headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
		RequestMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Append{
			Append: setHeader(headerXFCC, "By="+escapePercent(b.identity().String())+";URI=%FILTER_STATE("+statePeer+":PLAIN)%"),
		}}},
	}})}
}

// askFilter is all but whom to ask.
func askFilter(e *model.ExternalAuthorization, s customSlot) *authzv3.ExtAuthz {
	out := &authzv3.ExtAuthz{
		StatPrefix:          "ask",
		TransportApiVersion: corev3.ApiVersion_V3,
		FailureModeAllow:    e.FailOpen,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode(e.StatusOnError)},
		ValidateMutations:   true,
		FilterEnabledMetadata: &matcherv3.MetadataMatcher{
			Filter: rbacMetadata,
			Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: s.prefix + "shadow_effective_policy_id"}}},
			Value:  stringValue(regexMatch(".+")),
		},
		// What is the mesh's own is not for the service to change.
		DecoderHeaderMutationRules: &mutationv3.HeaderMutationRules{DisallowExpression: regex("(?i)" + headerDst + "|" + headerXFCC)},
		AllowedHeaders:             headerNames(e.HeadersToService, headerXFCC),
	}
	if e.BodyBytes > 0 {
		out.WithRequestBody = &authzv3.BufferSettings{MaxRequestBytes: e.BodyBytes, AllowPartialMessage: e.PartialBody}
	}
	if e.HTTP && out.AllowedHeaders == nil {
		out.AllowedHeaders = headerNames([]string{"authorization"}, headerXFCC)
	}
	return out
}

// askWhom names the service that is asked.
func (b *builder) askWhom(out *authzv3.ExtAuthz, e *model.ExternalAuthorization) error {
	if !e.HTTP {
		svc, err := b.grpcService(model.ServicePort{Service: e.Backend.Service, Port: e.Backend.Port}, e.Timeout)
		out.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: svc}
		return err
	}
	cluster, broken := b.backendCluster(&e.Backend, false)
	if broken != "" {
		return errors.New(broken)
	}
	_, host, _ := strings.Cut(e.Backend.Service, "/") // of namespace/hostname
	out.Services = &authzv3.ExtAuthz_HttpService{HttpService: &authzv3.HttpService{
		ServerUri: &corev3.HttpUri{
			Uri: fmt.Sprintf("http://%s:%d", host, e.Backend.Port), Timeout: seconds(e.Timeout),
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		},
		PathPrefix: e.PathPrefix,
		AuthorizationResponse: &authzv3.AuthorizationResponse{
			AllowedUpstreamHeaders: headerNames(e.HeadersToUpstream), AllowedClientHeaders: headerNames(e.HeadersToClient),
		},
	}}
	return nil
}

// headerNames is nil for none: what more is named goes only beside names.
func headerNames(names []string, more ...string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	out := &matcherv3.ListStringMatcher{}
	for _, n := range append(names[:len(names):len(names)], more...) {
		m := exactMatch(n)
		m.IgnoreCase = true
		out.Patterns = append(out.Patterns, m)
	}
	return out
}
