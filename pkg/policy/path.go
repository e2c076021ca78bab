package policy

import (
	"regexp"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// Servers do not agree on what a path means: some drop ";parameters" of a segment, some a slash at the end,
// some do not tell A from a. So a path is compared in two ways. Strictly, where a match lets a request pass:
// what is not exactly as written is not meant. Loosely, where a match refuses it: whatever some server would
// take for the path is meant.

// params are a segment's, which some servers drop. The semicolon may be escaped.
const params = "((;|%3b)[^/]*)?"

// Ambiguous matches paths that servers read in ways that no policy by path can follow: dot segments with
// parameters, dots and slashes in overlong UTF-8, and escapes that are none. Where any policy looks at paths
// such requests are refused.
const Ambiguous = `(?i).*(/(\.|%2e){1,2}(;|%3b)|%c0%a[ef]|%e0%80%a[ef]|%([^0-9a-f]|[0-9a-f]([^0-9a-f]|$)|$)).*`

// PathPattern is a regular expression (RE2, for the whole path without query) for what a policy says of paths.
func PathPattern(m model.StringMatch, loose bool) string {
	var b strings.Builder
	gap, end := "", ""
	if loose {
		b.WriteString("(?i)")
		gap, end = params, params+"/?"
	}
	switch m.Kind {
	case model.Presence:
		return ".+"
	case model.Template:
		writeTemplate(&b, m.Value, gap, end)
		return b.String()
	case model.Suffix:
		b.WriteString(".*")
	}
	writeLiteral(&b, m.Value, gap)
	switch {
	case m.Kind == model.Prefix:
		b.WriteString(".*")
	case m.Value == "/":
		b.WriteString(gap)
	default:
		b.WriteString(end)
	}
	return b.String()
}

// writeLiteral puts the gap before each slash that ends a segment.
func writeLiteral(b *strings.Builder, v, gap string) {
	for i, part := range strings.Split(v, "/") {
		if i > 0 {
			if i > 1 {
				b.WriteString(gap)
			}
			b.WriteByte('/')
		}
		b.WriteString(regexp.QuoteMeta(part))
	}
}

func writeTemplate(b *strings.Builder, v, gap, end string) {
	for i, part := range strings.Split(v, "/") {
		switch {
		case i == 0:
		case part == "{**}": // the last: no further segment, or any number of them
			b.WriteString(gap + "(/.*)?")
			return
		case strings.HasPrefix(part, "{"):
			b.WriteString(before(i, gap) + "/[^/]+")
		default:
			b.WriteString(before(i, gap) + "/" + regexp.QuoteMeta(part))
		}
	}
	b.WriteString(end)
}

func before(i int, gap string) string {
	if i == 1 {
		return ""
	}
	return gap
}

// ParsePath reads the notation of paths: that of ParseStringMatch, or a template.
func ParsePath(s string) model.StringMatch {
	if strings.ContainsAny(s, "{}") {
		return model.StringMatch{Kind: model.Template, Value: s}
	}
	return model.ParseStringMatch(s)
}
