package source

import (
	"reflect"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// fieldCache holds the JSON fields of each struct type that was met.
var fieldCache sync.Map // reflect.Type → map[string]reflect.Type

// fieldsOf lists a struct's JSON fields with those of the structs in it that are inlined.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if f, ok := fieldCache.Load(t); ok {
		return f.(map[string]reflect.Type)
	}
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			for k, v := range fieldsOf(embedded) {
				if _, own := out[k]; !own {
					out[k] = v
				}
			}
		case name == "":
			out[f.Name] = f.Type
		default:
			out[name] = f.Type
		}
	}
	fieldCache.Store(t, out)
	return out
}

func isInt(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64
}

func isFloat(t reflect.Type) bool { return t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 }

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// typeName says in a person's words what a type wants.
func typeName(t reflect.Type) string {
	switch {
	case isInt(t):
		return "a whole number"
	case isFloat(t):
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a string"
	case t.Name() == "IntOrString":
		return "number or name"
	}
	return strings.ToLower(t.Name())
}

// shown describes what was written, short enough for one line.
func shown(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	}
	v := n.Value
	if len(v) > 40 {
		v = v[:37] + "..."
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "the number " + v
	case "!!bool":
		return v
	}
	return `"` + v + `"`
}
