package model

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// HTTPFilter is one step of a route's rule beside those of Gateway API. Exactly one part is set.
type HTTPFilter struct {
	Name        string          `json:"name"` // namespace/name
	Direct      *DirectResponse `json:"direct,omitempty"`
	Compression *Compression    `json:"compression,omitempty"`
	GRPCWeb     bool            `json:"grpcWeb,omitempty"`
	Transcoding *Transcoding    `json:"transcoding,omitempty"`
	Headers     *HeaderFilter   `json:"headers,omitempty"`
	PathRewrite *RegexRewrite   `json:"pathRewrite,omitempty"`
	BufferBytes uint32          `json:"bufferBytes,omitempty"`
	Callers     []CallerMatch   `json:"callers,omitempty"` // the rule is for any of these alone
}

// DirectResponse answers by itself.
type DirectResponse struct {
	Status  uint32   `json:"status"`
	Body    string   `json:"body,omitempty"`
	Headers []Header `json:"headers,omitempty"`
}

// Compression of answers.
type Compression struct {
	Algorithms   []string `json:"algorithms,omitempty"` // gzip, br, zstd; the best first
	ContentTypes []string `json:"contentTypes,omitempty"`
	MinLength    uint32   `json:"minLength,omitempty"`
}

// Transcoding of HTTP and JSON to gRPC.
type Transcoding struct {
	Descriptors        []byte   `json:"descriptors"` // a FileDescriptorSet
	Services           []string `json:"services"`
	AutoMapping        bool     `json:"autoMapping,omitempty"`
	IgnoreUnknownQuery bool     `json:"ignoreUnknownQuery,omitempty"`
	Whitespace         bool     `json:"whitespace,omitempty"`
	AllFields          bool     `json:"allFields,omitempty"`
	EnumsAsNumbers     bool     `json:"enumsAsNumbers,omitempty"`
	ProtoNames         bool     `json:"protoNames,omitempty"`
}

// HeaderFilter changes headers; values are templates.
type HeaderFilter struct {
	Request  HeaderChange `json:"request,omitzero"`
	Response HeaderChange `json:"response,omitzero"`
}

// RegexRewrite changes the path.
type RegexRewrite struct {
	Regex       string `json:"regex"`
	Replacement string `json:"replacement"`
}

// CORS says which pages of other origins may read answers.
type CORS struct {
	Origins     []string `json:"origins,omitempty"` // scheme://host:port, with * for any beginning of the host; * alone is all
	Methods     []string `json:"methods,omitempty"`
	Headers     []string `json:"headers,omitempty"`
	Expose      []string `json:"expose,omitempty"`
	Credentials bool     `json:"credentials,omitempty"`
	MaxAge      int32    `json:"maxAge,omitempty"` // seconds
}

// TemplatePart is a piece of text, or the name of a variable.
type TemplatePart struct{ Text, Variable string }

// templateVariables are the names that ${…} may have, besides request.header.NAME.
var templateVariables = []string{
	"caller.identity", "caller.namespace", "caller.serviceAccount", "caller.address",
	"request.id", "request.path", "request.method", "request.host", "response.code",
}

// TemplateHeader begins variables that are request headers.
const TemplateHeader = "request.header."

var headerName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)

// ParseTemplate reads text with ${…}. $$ is a dollar sign; any other dollar stays as it is.
func ParseTemplate(s string) ([]TemplatePart, error) {
	var out []TemplatePart
	text := func(t string) {
		if n := len(out); n > 0 && out[n-1].Variable == "" {
			out[n-1].Text += t
		} else if t != "" {
			out = append(out, TemplatePart{Text: t})
		}
	}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			text(s)
			break
		}
		text(s[:i])
		s = s[i+1:]
		switch {
		case strings.HasPrefix(s, "$"):
			text("$")
			s = s[1:]
		case strings.HasPrefix(s, "{"):
			name, rest, closed := strings.Cut(s[1:], "}")
			if !closed {
				return nil, fmt.Errorf("${%s has no end: write ${%s}", s[1:], s[1:])
			}
			header, isHeader := strings.CutPrefix(name, TemplateHeader)
			if known := slices.Contains(templateVariables, name) || isHeader && headerName.MatchString(header); !known {
				return nil, fmt.Errorf("${%s} is not known: write one of %s, %sNAME", name, strings.Join(templateVariables, ", "), TemplateHeader)
			}
			out = append(out, TemplatePart{Variable: name})
			s = rest
		default:
			text("$")
		}
	}
	return out, nil
}
