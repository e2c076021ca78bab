package translate

import (
	"encoding/json"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermetav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// Requests are counted by the launcher, from Envoy's log to it. A route says there how, in its metadata; values of
// headers come in metadata of the request. So listeners stay as they are.

// metaLabels is the namespace of a request's metadata with its labels from headers, by their names.
const metaLabels = "weft.labels"

// count says on a route how its requests are counted.
func count(r *routev3.Route, m *model.Metrics) {
	text, err := json.Marshal(m)
	if err != nil {
		return // strings and numbers always marshal
	}
	r.Metadata.FilterMetadata[metaNS].Fields[TagMetrics] = structpb.NewStringValue(string(text))
	var rules []*headermetav3.Config_Rule
	for _, l := range m.Labels {
		if l.Header == "" || m.Disabled {
			continue
		}
		rules = append(rules, &headermetav3.Config_Rule{
			Header:          strings.ToLower(l.Header),
			OnHeaderPresent: &headermetav3.Config_KeyValuePair{MetadataNamespace: metaLabels, Key: l.Name},
		})
	}
	if len(rules) > 0 {
		perFilter(r, filterLabels, pack(&headermetav3.Config{RequestRules: rules}))
	}
}
