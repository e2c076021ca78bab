package translate

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// limitHeaders gives answers the names that the IETF's draft has for what Envoy calls x-ratelimit-*. Those stay: many
// clients read them, and an application may have made them itself. Where Envoy says nothing, nothing is changed.
func limitHeaders() *anypb.Any {
	out := &headermutationv3.Mutations{}
	for _, part := range []string{"limit", "remaining", "reset"} {
		out.ResponseMutations = append(out.ResponseMutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{
			Append: setHeader("ratelimit-"+part, "%RESP(x-ratelimit-"+part+")%"),
		}})
	}
	return pack(&headermutationv3.HeaderMutationPerRoute{Mutations: out})
}
