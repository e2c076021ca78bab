package translate

import (
	"fmt"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	brotliv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/brotli/compressor/v3"
	gzipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/gzip/compressor/v3"
	zstdv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/compression/zstd/compressor/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	compressorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/compressor/v3"
	transcoderv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_json_transcoder/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/model"
)

// HTTPFilters of a rule.

// maxDirectBody is how long an HTTPFilter's own answer may be.
const maxDirectBody = 64 << 10

// further says on a route what a rule's CORS filter and its HTTPFilters ask for. A direct response is its action.
func further(route *routev3.Route, rule *model.RouteRule) error {
	cors(route, rule.CORS)
	for i := range rule.Filters {
		f := &rule.Filters[i]
		if err := step(route, f); err != nil {
			return fmt.Errorf("HTTPFilter %s: %w", f.Name, err)
		}
	}
	return nil
}

func step(route *routev3.Route, f *model.HTTPFilter) error {
	switch {
	case f.Direct != nil:
		return direct(route, f.Direct)
	case f.Compression != nil:
		return compress(route, f.Compression)
	case f.GRPCWeb:
		perFilter(route, filterGRPCWeb, execute(filterGRPCWeb, &grpcwebv3.GrpcWeb{}))
	case f.Transcoding != nil:
		perFilter(route, filterTranscoder, execute(filterTranscoder, transcoder(f.Transcoding)))
	case f.Headers != nil:
		if err := templates(f.Headers.Request, &route.RequestHeadersToAdd, &route.RequestHeadersToRemove); err != nil {
			return err
		}
		return templates(f.Headers.Response, &route.ResponseHeadersToAdd, &route.ResponseHeadersToRemove)
	case f.BufferBytes > 0:
		perFilter(route, filterBuffer, pack(&bufferv3.BufferPerRoute{Override: &bufferv3.BufferPerRoute_Buffer{
			Buffer: &bufferv3.Buffer{MaxRequestBytes: u32(f.BufferBytes)},
		}}))
	}
	return nil
}

func direct(route *routev3.Route, d *model.DirectResponse) error {
	answer := &routev3.DirectResponseAction{Status: d.Status}
	if d.Body != "" {
		answer.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: d.Body}}
	}
	route.Action = &routev3.Route_DirectResponse{DirectResponse: answer}
	return responseHeaders(model.HeaderChange{Set: d.Headers}, &route.ResponseHeadersToAdd, &route.ResponseHeadersToRemove)
}

// rewriteByRegex changes the path as an HTTPFilter says.
func rewriteByRegex(a *routev3.RouteAction, filters []model.HTTPFilter) error {
	for _, f := range filters {
		if f.PathRewrite == nil {
			continue
		}
		if err := checkRegex(f.PathRewrite.Regex); err != nil {
			return fmt.Errorf("HTTPFilter %s: %w", f.Name, err)
		}
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(f.PathRewrite.Regex), Substitution: f.PathRewrite.Replacement}
	}
	return nil
}

func compressorSlot(algorithm string) string { return filterCompressor + "." + algorithm }

func compress(route *routev3.Route, c *model.Compression) error {
	var types []*matcherv3.StringMatcher
	for _, t := range c.ContentTypes {
		m := exactMatch(t)
		m.IgnoreCase = true
		types = append(types, m)
	}
	for i, a := range c.Algorithms {
		var library proto.Message
		switch a {
		case "gzip":
			library = &gzipv3.Gzip{}
		case "br":
			library = &brotliv3.Brotli{}
		case "zstd":
			library = &zstdv3.Zstd{}
		default:
			return fmt.Errorf("there is no compression %q", a)
		}
		filter := &compressorv3.Compressor{
			CompressorLibrary: &corev3.TypedExtensionConfig{Name: a, TypedConfig: pack(library)},
			ChooseFirst:       i == 0, // where the client has no preference
			ResponseDirectionConfig: &compressorv3.Compressor_ResponseDirectionConfig{
				CommonConfig:         &compressorv3.Compressor_CommonDirectionConfig{MinContentLength: u32(c.MinLength), ContentTypeMatcher: types},
				WeakenEtagOnCompress: true,
			},
		}
		perFilter(route, compressorSlot(a), execute(a, filter))
	}
	return nil
}

func transcoder(t *model.Transcoding) *transcoderv3.GrpcJsonTranscoder {
	return &transcoderv3.GrpcJsonTranscoder{
		DescriptorSet:                &transcoderv3.GrpcJsonTranscoder_ProtoDescriptorBin{ProtoDescriptorBin: t.Descriptors},
		Services:                     t.Services,
		MatchIncomingRequestRoute:    true,
		AutoMapping:                  t.AutoMapping,
		IgnoreUnknownQueryParameters: t.IgnoreUnknownQuery,
		ConvertGrpcStatus:            true,
		PrintOptions: &transcoderv3.GrpcJsonTranscoder_PrintOptions{
			AddWhitespace: t.Whitespace, AlwaysPrintPrimitiveFields: t.AllFields, AlwaysPrintEnumsAsInts: t.EnumsAsNumbers, PreserveProtoFieldNames: t.ProtoNames,
		},
	}
}

// templates changes headers by values with variables.
func templates(c model.HeaderChange, add *[]*corev3.HeaderValueOption, remove *[]string) error {
	for _, list := range []struct {
		headers []model.Header
		action  corev3.HeaderValueOption_HeaderAppendAction
	}{{c.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}, {c.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD}} {
		for _, h := range list.headers {
			if err := changeable(h.Name); err != nil {
				return err
			}
			value, err := formatTemplate(h.Value)
			if err != nil {
				return fmt.Errorf("header %s: %w", h.Name, err)
			}
			o := setHeader(h.Name, value)
			o.AppendAction = list.action
			*add = append(*add, o)
		}
	}
	return headerChange(model.HeaderChange{Remove: c.Remove}, add, remove)
}

// variables are what Envoy calls those of our templates.
var variables = map[string]string{
	"caller.identity":       "%FILTER_STATE(" + statePeer + ":PLAIN)%",
	"caller.namespace":      "%FILTER_STATE(" + stateNamespace + ":PLAIN)%",
	"caller.serviceAccount": "%FILTER_STATE(" + stateAccount + ":PLAIN)%",
	"caller.address":        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
	"request.id":            "%REQ(X-REQUEST-ID)%",
	"request.path":          "%PATH(NQ)%",
	"request.method":        "%REQ(:METHOD)%",
	"request.host":          "%REQ(:AUTHORITY)%",
	"response.code":         "%RESPONSE_CODE%",
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// formatTemplate makes a format string of a template; what is text in it stays text.
func formatTemplate(s string) (string, error) {
	parts, err := model.ParseTemplate(s)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, p := range parts {
		header, isHeader := strings.CutPrefix(p.Variable, model.TemplateHeader)
		switch {
		case p.Variable == "":
			out.WriteString(escapePercent(p.Text))
		case isHeader && plainName.MatchString(header):
			out.WriteString("%REQ(" + header + ")%")
		case variables[p.Variable] != "":
			out.WriteString(variables[p.Variable])
		default:
			return "", fmt.Errorf("there is no variable %s", p.Variable)
		}
	}
	return out.String(), nil
}
