package source

import (
	"errors"
	"fmt"
	"math"

	"gopkg.in/yaml.v3"
)

// maxNodes bounds what aliases can blow a document up to.
const maxNodes = 1 << 20

var errTooBig = errors.New("the document is too big once its aliases are expanded")

// expansion turns nodes into what encoding/json takes: maps, slices, strings, numbers, booleans, nil.
type expansion struct{ nodes, depth int }

func (e *expansion) value(n *yaml.Node) (any, error) {
	if e.nodes++; e.nodes > maxNodes {
		return nil, errTooBig
	}
	if e.depth++; e.depth > 200 {
		return nil, errors.New("the document is nested too deeply, or an alias contains itself")
	}
	defer func() { e.depth-- }()
	switch n = deref(n); n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, p := range pairs(n, 0) {
			v, err := e.value(p.value)
			if err != nil {
				return nil, err
			}
			out[p.key.Value] = v
		}
		return out, nil
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := e.value(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.ScalarNode:
		return scalar(n)
	}
	return nil, fmt.Errorf("line %d: neither a value, a list nor a map", n.Line)
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, err
		}
		if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, fmt.Errorf("%s is no number that an API takes", n.Value)
		}
		return v, nil
	}
	return n.Value, nil
}

// pair is a key of a map and its value.
type pair struct{ key, value *yaml.Node }

// pairs lists a map's keys, with those that it merges in (<<) and does not have itself at the end.
func pairs(n *yaml.Node, depth int) []pair {
	var own, merged []pair
	has := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], deref(n.Content[i+1])
		if k.Tag != "!!merge" {
			own = append(own, pair{k, n.Content[i+1]})
			has[k.Value] = true
			continue
		}
		from := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			from = v.Content
		}
		for _, m := range from {
			if m = deref(m); m.Kind == yaml.MappingNode && depth < 16 {
				merged = append(merged, pairs(m, depth+1)...)
			}
		}
	}
	for _, p := range merged {
		if !has[p.key.Value] {
			has[p.key.Value] = true
			own = append(own, p)
		}
	}
	return own
}
