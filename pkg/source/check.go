package source

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// checker holds a document against a Go type, so that everything wrong is found at once, with its place.
type checker struct {
	doc      *document
	problems []Problem
	depth    int
	nodes    int
}

func (c *checker) add(n *yaml.Node, path, message, suggestion string) {
	c.problems = append(c.problems, Problem{
		Severity: Error, File: c.doc.file, Line: n.Line + c.doc.offset, Column: n.Column, Path: path, Message: message, Suggestion: suggestion,
	})
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// check compares one node with what the type wants there.
func (c *checker) check(n *yaml.Node, t reflect.Type, path string) {
	n = deref(n)
	if c.depth++; c.depth > 200 {
		return // value reports it
	}
	defer func() { c.depth-- }()
	if c.nodes++; c.nodes > maxNodes {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		c.checkOwn(n, t, path)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.checkStruct(n, t, path)
	case reflect.Map:
		c.checkMap(n, t, path)
	case reflect.Slice, reflect.Array:
		c.checkList(n, t, path)
	case reflect.Interface:
	default:
		c.checkScalar(n, t, path)
	}
}

// checkOwn tries types that read themselves: quantities, times, numbers or names.
func (c *checker) checkOwn(n *yaml.Node, t reflect.Type, path string) {
	v, err := new(expansion).value(n)
	if err != nil {
		return // value of the whole document reports it
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		c.add(n, path, fmt.Sprintf("%s is not a %s", shown(n), typeName(t)), strings.TrimPrefix(err.Error(), "json: "))
	}
}

func (c *checker) checkStruct(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		c.add(n, path, fmt.Sprintf("want a map of fields, not %s", shown(n)), "")
		return
	}
	c.duplicates(n, path)
	fields := fieldsOf(t)
	for _, p := range pairs(n, 0) {
		f, ok := fields[p.key.Value]
		if !ok {
			c.unknown(p.key, fields, path)
			continue
		}
		c.check(p.value, f, join(path, p.key.Value))
	}
}

func (c *checker) unknown(k *yaml.Node, fields map[string]reflect.Type, path string) {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	hint := ""
	if s := nearest(k.Value, names); s != "" {
		hint = "did you mean " + s + "?"
	} else if len(names) == 1 {
		hint = "did you mean " + names[0] + "?"
	} else if len(names) <= 8 {
		hint = "known here are " + strings.Join(names, ", ")
	}
	c.add(k, join(path, k.Value), fmt.Sprintf("unknown field %q", k.Value), hint)
}

func (c *checker) duplicates(n *yaml.Node, path string) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if was, ok := first[k.Value]; ok && k.Tag != "!!merge" {
			c.add(k, join(path, k.Value), fmt.Sprintf("field %q is written twice", k.Value), fmt.Sprintf("it is on line %d already", was.Line+c.doc.offset))
		}
		first[k.Value] = k
	}
}

func (c *checker) checkMap(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.MappingNode {
		c.add(n, path, fmt.Sprintf("want a map, not %s", shown(n)), "")
		return
	}
	c.duplicates(n, path)
	for _, p := range pairs(n, 0) {
		c.check(p.value, t.Elem(), join(path, p.key.Value))
	}
}

func (c *checker) checkList(n *yaml.Node, t reflect.Type, path string) {
	if t.Elem().Kind() == reflect.Uint8 {
		c.checkScalar(n, reflect.TypeFor[string](), path)
		return
	}
	if n.Kind != yaml.SequenceNode {
		c.add(n, path, fmt.Sprintf("want a list, not %s", shown(n)), "put \"- \" before it")
		return
	}
	for i, e := range n.Content {
		c.check(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (c *checker) checkScalar(n *yaml.Node, t reflect.Type, path string) {
	if n.Kind != yaml.ScalarNode {
		c.add(n, path, fmt.Sprintf("want %s, not %s", typeName(t), shown(n)), "")
		return
	}
	hint := ""
	switch tag := n.ShortTag(); {
	case t.Kind() == reflect.String:
		if tag != "!!int" && tag != "!!float" && tag != "!!bool" {
			return
		}
		hint = fmt.Sprintf("put it in quotes: %q", n.Value)
	case t.Kind() == reflect.Bool && tag == "!!bool", isFloat(t) && (tag == "!!int" || tag == "!!float"):
		return
	case isInt(t) && tag == "!!int":
		v, err := scalar(n)
		if err == nil {
			data, _ := json.Marshal(v)
			err = json.Unmarshal(data, reflect.New(t).Interface())
		}
		if err == nil {
			return
		}
		hint = "it is out of range"
	case t.Kind() == reflect.Bool:
		hint = "write true or false"
	case isInt(t) && tag == "!!str" && isDigits(n.Value):
		hint = "leave the quotes out"
	}
	c.add(n, path, fmt.Sprintf("want %s, not %s", typeName(t), shown(n)), hint)
}
