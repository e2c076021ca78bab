package translate

import (
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
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
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
	cluster, broken := b.asked(p.External)
	if broken != "" {
		b.problem(policySource(p), "refuses what it matches: %s", broken)
		return false
	}
	if len(rules) == 0 {
		return true // nothing can match here
	}
	out[s.matches()] = pack(&rbacfilterv3.RBACPerRoute{Rbac: &rbacfilterv3.RBAC{
		ShadowRules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: rules}, ShadowRulesStatPrefix: s.prefix,
	}})
	out[s.filter] = executeAll("ask", callerHeader(b), &corev3.TypedExtensionConfig{Name: "ext_authz", TypedConfig: pack(askFilter(p.External, s, cluster))})
	return true
}

// asked finds the cluster of the service that is asked. gRPC wants HTTP/2 whatever the port declares.
func (b *builder) asked(e *model.ExternalAuthorization) (cluster, broken string) {
	if e.HTTP {
		return b.backendCluster(&e.Backend, false)
	}
	return b.grpcCluster(&e.Backend)
}

// grpcCluster is a backend's cluster for questions of Envoy's own by gRPC.
func (b *builder) grpcCluster(be *model.Backend) (name, broken string) {
	base, broken := b.backendCluster(be, false)
	if broken != "" {
		return base, broken
	}
	name = "grpc|" + base
	if b.assigned[name] != "" {
		return name, ""
	}
	b.assigned[name] = b.assigned[base]
	s := b.snap.Services[be.Service]
	t := &target{name: name, port: be.Port, app: model.AppGRPC, service: s, source: serviceSource(s)}
	c := edsCluster(name, b.assigned[base], model.AppGRPC)
	owners := b.onCluster(t, c)
	b.res.Clusters = append(b.res.Clusters, c)
	b.res.own(resource.ClusterType, name, append(owners, t.source)...)
	return name, ""
}

// callerHeader tells the service who calls, in the header that the application gets, too.
func callerHeader(b *builder) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: "caller", TypedConfig: pack(&headersv3.HeaderMutation{Mutations: &headersv3.Mutations{
		RequestMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Append{
			Append: setHeader(headerXFCC, "By="+escapePercent(b.identity().String())+";URI=%FILTER_STATE("+statePeer+":PLAIN)%"),
		}}},
	}})}
}

func askFilter(e *model.ExternalAuthorization, s customSlot, cluster string) *authzv3.ExtAuthz {
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
	if !e.HTTP {
		out.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: &corev3.GrpcService{
			TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}},
			Timeout:         seconds(e.Timeout),
		}}
		return out
	}
	if out.AllowedHeaders == nil {
		out.AllowedHeaders = headerNames([]string{"authorization"}, headerXFCC)
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
	return out
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
