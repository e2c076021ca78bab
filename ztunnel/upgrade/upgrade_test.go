package upgrade

import (
	"reflect"
	"strings"
	"testing"
)

// What is passed on is part of its version, however deep, and the same program always says the same.
func TestShape(t *testing.T) {
	type inner struct{ A int }
	type other struct{ A, B int }
	of := func(v any) string {
		var b strings.Builder
		shape(&b, reflect.TypeOf(v), map[reflect.Type]bool{})
		return b.String()
	}
	shapes := map[string]bool{}
	for _, v := range []any{
		struct{ X []inner }{}, struct{ X []other }{}, struct{ Y []inner }{}, struct{ X [2]inner }{}, struct{ X [3]inner }{},
		struct{ X map[string]inner }{}, struct{ X map[string]*inner }{}, struct{ X map[int]inner }{},
	} {
		if s := of(v); shapes[s] || s != of(v) {
			t.Errorf("%T has the shape of another: %s", v, s)
		} else {
			shapes[s] = true
		}
	}
	if v := version(); v != version() || !strings.Contains(of(state{}), "policy.Conn") || !strings.Contains(of(state{}), "telemetry.Labels") {
		t.Errorf("%s: %s", v, of(state{}))
	}
}
