package source

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
	fielderr "k8s.io/apimachinery/pkg/util/validation/field"
)

// ruleContext never ends: what a rule may cost is bounded by the budget of its evaluation.
var ruleContext = context.Background()

// blocking reports errors after which an API server does not evaluate rules.
func blocking(errs fielderr.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case fielderr.ErrorTypeNotSupported, fielderr.ErrorTypeRequired, fielderr.ErrorTypeTooLong, fielderr.ErrorTypeTooMany, fielderr.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// held holds an object of ours against its schema and returns it with its defaults.
func (c *checker) held(n *yaml.Node, s *schema, v any) (any, error) {
	whole, errs, err := s.judge(v)
	if err != nil {
		return nil, err
	}
	for _, e := range errs {
		path := ownPath(e.Field)
		message, suggestion := inWords(e, path)
		if v := valueAt(n, path); e.Type == fielderr.ErrorTypeInvalid && v != nil && v.Kind == yaml.ScalarNode {
			message += ": " + shown(v)
		}
		c.add(find(n, path), path, message, suggestion)
	}
	return whole, nil
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// inWords says what is wrong and what to do. The messages of our own rules hold both, divided by a colon.
func inWords(e *fielderr.Error, path string) (message, suggestion string) {
	switch e.Type {
	case fielderr.ErrorTypeRequired:
		segments := splitPath(path)
		if len(segments) == 0 {
			return "something is missing", e.Detail
		}
		return segments[len(segments)-1] + " is missing", ""
	case fielderr.ErrorTypeNotSupported:
		var names []string
		for _, m := range quoted.FindAllStringSubmatch(e.Detail, -1) {
			names = append(names, m[1])
		}
		value := fmt.Sprint(e.BadValue)
		if s := nearest(value, names); s != "" {
			return fmt.Sprintf("unknown value %q", value), "did you mean " + s + "?"
		}
		return fmt.Sprintf("unknown value %q", value), "write one of " + strings.Join(names, ", ")
	case fielderr.ErrorTypeTooMany:
		return e.Detail, "make it several objects"
	}
	detail := e.Detail
	if detail == "" {
		detail = e.ErrorBody()
	}
	if _, rest, ok := strings.Cut(detail, " in body "); ok {
		detail = rest // the path is said already
	}
	message, suggestion, _ = strings.Cut(detail, ": ")
	return message, suggestion
}

// ownPath writes a path of the validators (spec.ports[http].mode) as we do (spec.ports.http.mode).
func ownPath(of string) string {
	out := ""
	for _, s := range splitPath(of) {
		if _, err := strconv.Atoi(s); err == nil && out != "" && strings.Contains(of, "["+s+"]") {
			out += "[" + s + "]"
			continue
		}
		out = join(out, s)
	}
	if out == "<nil>" {
		return ""
	}
	return out
}

// valueAt is the value of a field, nil where it is not written.
func valueAt(n *yaml.Node, path string) *yaml.Node {
	for _, s := range splitPath(path) {
		i, err := strconv.Atoi(s)
		switch n = deref(n); {
		case err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content):
			n = deref(n.Content[i])
		default:
			n = field(n, s)
		}
		if n == nil {
			return nil
		}
	}
	return n
}
