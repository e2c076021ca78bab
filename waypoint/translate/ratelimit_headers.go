package translate

import (
	"maps"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Envoy tells of its limits by x-ratelimit-*, and so may an application of limits of its own. To tell them apart, what an
// application says is laid by before any filter sees its answer, and comes back where Envoy says nothing.
const ownLimit = "x-weft-own-ratelimit-"

var limitParts = []string{"limit", "remaining", "reset"}

// limitHeaders gives answers the names that the IETF's draft has for what Envoy calls x-ratelimit-*. Those stay: many
// clients read them. Where Envoy says nothing, the answer is as the application made it.
func limitHeaders() *anypb.Any {
	var set []*mutationv3.HeaderMutation
	for _, part := range limitParts {
		set = append(set, appendHeader(setHeader("ratelimit-"+part, "%RESP(x-ratelimit-"+part+")%")))
	}
	return pack(&headermutationv3.HeaderMutationPerRoute{Mutations: &headermutationv3.Mutations{ResponseMutations: append(set, ownLimitsBack()...)}})
}

func ownLimitsBack() []*mutationv3.HeaderMutation {
	var out []*mutationv3.HeaderMutation
	for _, part := range limitParts {
		back := setHeader("x-ratelimit-"+part, "%RESP("+ownLimit+part+")%")
		back.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
		out = append(out, appendHeader(back), &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: ownLimit + part}})
	}
	return out
}

func appendHeader(h *corev3.HeaderValueOption) *mutationv3.HeaderMutation {
	return &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: h}}
}

// layLimitsBy has answers of all routes of a virtual host go without what the application says of its limits until their
// filters are done. Envoy removes before it adds, and changes by the route before those by the virtual host: so the
// route keeps a copy, and the virtual host removes.
func (t *target) layLimitsBy(vh *routev3.VirtualHost) {
	if !t.tellsLimits {
		return
	}
	for _, part := range limitParts {
		for _, r := range vh.Routes {
			r.ResponseHeadersToAdd = append(r.ResponseHeadersToAdd, setHeader(ownLimit+part, "%RESP(x-ratelimit-"+part+")%"))
		}
		vh.ResponseHeadersToRemove = append(vh.ResponseHeadersToRemove, "x-ratelimit-"+part)
	}
	with := map[string]*anypb.Any{filterLimits: pack(&headermutationv3.HeaderMutationPerRoute{
		Mutations: &headermutationv3.Mutations{ResponseMutations: ownLimitsBack()},
	})}
	maps.Copy(with, vh.TypedPerFilterConfig)
	vh.TypedPerFilterConfig = with
}
