package translate

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/pkg/model"
)

// Tokens of end users are verified before anything is asked about them. What a token says is then in the
// metadata of the request, where the policies find it.
const (
	tokenMetadata = "envoy.filters.http.jwt_authn"
	tokenPayload  = "payload"

	kindAuthentication = "RequestAuthentication"
)

// hasAuthentication reports whether tokens of a target are to be verified.
func (b *builder) hasAuthentication(t *target) bool {
	return len(b.attached(kindAuthentication, t, nil, nil))+len(b.concerning(&b.refused, kindAuthentication, t, nil, nil)) > 0
}

// authenticate verifies the tokens of a target's requests. Every policy that concerns it counts, whatever
// their breadth: each vouches for its issuers' tokens.
func (b *builder) authenticate(t *target) (*anypb.Any, []Source) {
	var owners []Source
	filter := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, StatPrefix: "tokens"}
	var any []*jwtv3.JwtRequirement
	required := false
	for _, a := range b.attached(kindAuthentication, t, nil, nil) {
		owners = append(owners, attachmentSource(a))
		required = required || a.Authentication.Required
		for i, p := range a.Authentication.Providers {
			name := a.Namespace + "/" + a.Name + "[" + strconv.Itoa(i) + "]"
			if filter.Providers[name] != nil {
				continue // attached to the service and to the waypoint
			}
			filter.Providers[name] = tokenProvider(p)
			any = append(any, &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}})
		}
	}
	if len(any) == 0 {
		return nil, owners
	}
	if !required {
		any = append(any, &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}})
	}
	requires := any[0]
	if len(any) > 1 {
		requires = &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: any}}}
	}
	filter.Rules = []*jwtv3.RequirementRule{{
		Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: requires},
	}}
	return execute("jwt", filter), owners
}

// verify has a virtual host verify its target's tokens.
func (b *builder) verify(t *target, vh *routev3.VirtualHost) []Source {
	filter, owners := b.authenticate(t)
	if filter != nil {
		vh.TypedPerFilterConfig = maps.Clone(vh.TypedPerFilterConfig)
		if vh.TypedPerFilterConfig == nil {
			vh.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		vh.TypedPerFilterConfig[filterTokens] = filter
	}
	return owners
}

// unverifiable lists the policies on tokens that cannot do their work on a target, which is then closed:
// those that Envoy refused, and those that require a token where there are no requests.
func (b *builder) unverifiable(t *target, at where) []string {
	var out []string
	for _, a := range b.concerning(&b.refused, kindAuthentication, t, nil, nil) {
		out = append(out, a.Namespace+"/"+a.Name)
	}
	if at == onConnection {
		for _, a := range b.attached(kindAuthentication, t, nil, nil) {
			if a.Authentication.Required {
				b.problem(attachmentSource(a), "%s is no HTTP port, so nobody can show a token there, and all are refused", t.name)
				out = append(out, a.Namespace+"/"+a.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func tokenProvider(p model.TokenProvider) *jwtv3.JwtProvider {
	out := &jwtv3.JwtProvider{
		Issuer: p.Issuer, Audiences: p.Audiences, Forward: p.Forward, FromParams: p.FromParams, FromCookies: p.FromCookies,
		PayloadInMetadata: tokenPayload,
		// What OAuth writes as one text is a list to policies.
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: []string{"scope", "permission"}},
		JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: p.Keys},
		}},
		ClockSkewSeconds: uint32(p.ClockSkew / time.Second),
	}
	if p.Keys == "" {
		out.GetLocalJwks().Specifier = &corev3.DataSource_InlineString{InlineString: nobodysKey()}
	}
	for _, h := range p.FromHeaders {
		out.FromHeaders = append(out.FromHeaders, &jwtv3.JwtHeader{Name: h.Name, ValuePrefix: h.Prefix})
	}
	for _, c := range p.ClaimHeaders {
		h := &jwtv3.JwtClaimToHeader{HeaderName: c.Header}
		for _, name := range c.Claim {
			h.ClaimPath = append(h.ClaimPath, &jwtv3.JwtClaimToHeader_PathSegment{Key: name})
		}
		out.ClaimToHeaders = append(out.ClaimToHeaders, h)
	}
	return out
}

// nobodysKey is a public key to which nobody has the private one, for Envoy takes no empty set: a point of
// the curve whose x is a hash.
var nobodysKey = sync.OnceValue(func() string {
	for i := 0; ; i++ {
		h := sha256.Sum256(fmt.Appendf(nil, "weft: no keys are known %d", i))
		x, y := elliptic.UnmarshalCompressed(elliptic.P256(), append([]byte{2}, h[:]...))
		if x == nil {
			continue
		}
		text := base64.RawURLEncoding.EncodeToString
		return `{"keys":[{"kty":"EC","crv":"P-256","kid":"none","x":"` + text(x.FillBytes(make([]byte, 32))) + `","y":"` + text(y.FillBytes(make([]byte, 32))) + `"}]}`
	}
})
