package source

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Origin says where an object was written. The zero value is nowhere (made by a program).
type Origin struct {
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"` // of the object's first line, from 1

	doc    *document
	prefix string // of the object within its document, for items of a List
}

// String is file:line; of an object of a cluster, Kind/namespace/name.
func (o Origin) String() string {
	if o.File == "" {
		return "unknown place"
	}
	if o.Line == 0 {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// At finds the line and column of a field such as spec.rules[0].from, or of the nearest field around it
// that is written.
func (o Origin) At(path string) (line, column int) {
	if o.doc == nil {
		return o.Line, 0
	}
	root, err := o.doc.parse()
	if err != nil || root == nil {
		return o.Line, 0
	}
	n := find(root, strings.TrimPrefix(o.prefix+"."+path, "."))
	if n == root {
		return o.Line, 1
	}
	return n.Line + o.doc.offset, n.Column
}

// find follows a path as far as it goes. Of a field it returns the key.
func find(n *yaml.Node, path string) *yaml.Node {
	at := n
	for _, seg := range splitPath(path) {
		n = deref(n)
		next := (*yaml.Node)(nil)
		if i, err := strconv.Atoi(seg); err == nil && n.Kind == yaml.SequenceNode {
			if i < len(n.Content) {
				next, at = n.Content[i], n.Content[i]
			}
		} else if n.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == seg {
					next, at = n.Content[i+1], n.Content[i]
				}
			}
		}
		if next == nil {
			return at
		}
		n = next
	}
	return at
}

// splitPath reads a.b[0]["c.d"] as a, b, 0, c.d.
func splitPath(path string) []string {
	var out []string
	for path != "" {
		switch {
		case path[0] == '.':
			path = path[1:]
		case strings.HasPrefix(path, `["`):
			end := strings.Index(path, `"]`)
			if end < 0 {
				return append(out, path[2:])
			}
			out, path = append(out, path[2:end]), path[end+2:]
		case path[0] == '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return append(out, path[1:])
			}
			out, path = append(out, path[1:end]), path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			out, path = append(out, path[:end]), path[end:]
		}
	}
	return out
}

// join puts a field's name behind a path.
func join(path, field string) string {
	if strings.ContainsAny(field, ".[/") {
		field = `["` + field + `"]`
		return path + field
	}
	if path == "" {
		return field
	}
	return path + "." + field
}
