package source

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// entry is one object of a file.
type entry struct {
	kind   *kind
	key    key
	origin Origin
	object metav1.Object
	text   string // that it was read from, for generations
	unread string // why only name and target are certain of it; "" for an object as it was written
}

// decoded is what one document holds.
type decoded struct {
	entries  []entry
	broken   []key // objects that are there and cannot be used
	unnamed  bool  // something is there of which not even the name can be read
	problems []Problem
}

// decode reads one document: an object, or a List of them.
func (d *document) decode() decoded {
	var out decoded
	root, err := d.parse()
	if err != nil {
		p := Problem{Severity: Error, File: d.file, Line: d.offset + 1, Message: "not YAML: " + err.Error()}
		if s, ok := err.(*syntaxError); ok { //nolint:errorlint // parse returns nothing else
			p.Line = s.line
		}
		p.Suggestion = "look at the indentation and quotes on this line and the one before"
		return decoded{problems: []Problem{p}, unnamed: true}
	}
	if root != nil {
		d.decodeObject(&out, root, "")
	}
	return out
}

// decodeObject reads the object at a node; prefix is its path within the document.
func (d *document) decodeObject(out *decoded, n *yaml.Node, prefix string) {
	n = deref(n)
	c := &checker{doc: d}
	if n.Kind != yaml.MappingNode {
		c.add(n, prefix, fmt.Sprintf("want an object (a map with apiVersion and kind), not %s", shown(n)), "")
		out.problems, out.unnamed = append(out.problems, c.problems...), true
		return
	}
	head := headOf(n)
	if head.kind == "List" && head.apiVersion == "v1" && prefix == "" {
		d.decodeList(out, n)
		return
	}
	k, problem := head.lookup()
	if problem != nil {
		line, col := d.at(n, problem.Path)
		problem.File, problem.Line, problem.Column = d.file, line, col
		problem.Kind, problem.Namespace, problem.Name = head.kind, head.namespace, head.name
		out.problems = append(out.problems, *problem)
		out.unnamed = out.unnamed || head.kind == "" || head.name == ""
		// A kind that is misspelt may be an edit of an object that was good.
		for _, known := range kinds {
			if nearest(head.kind, []string{known.name}) != "" {
				out.broken = append(out.broken, known.key(head))
			}
		}
		return
	}
	if k == nil {
		return // none of ours
	}
	e := entry{kind: k, key: k.key(head), origin: Origin{File: d.file, Line: n.Line + d.offset, doc: d, prefix: prefix}}
	c.check(n, k.typ, "")
	if len(c.problems) == 0 {
		e.object = c.read(n, k)
	}
	if e.object != nil {
		if k.namespaced && e.object.GetNamespace() == "" {
			e.object.SetNamespace("default")
		}
		v := &inspection{c: c, root: n}
		v.identity(k, e.object)
		if k.validate != nil {
			k.validate(v, e.object)
		}
		e.text = string(d.text)
		if prefix != "" {
			e.text = prefix + e.text
		}
	}
	for i := range c.problems {
		c.problems[i].Kind, c.problems[i].Namespace, c.problems[i].Name = k.name, e.key.namespace, e.key.name
	}
	out.problems = append(out.problems, c.problems...)
	switch {
	case len(c.problems) == 0:
		out.entries = append(out.entries, e)
	case e.key.name == "":
		out.unnamed = true
	default:
		out.broken = append(out.broken, e.key)
		if e.object = c.salvage(n, k, e.key); e.object != nil {
			e.unread, e.text = c.why(), string(d.text)
			out.entries = append(out.entries, e)
		}
	}
}

func (d *document) decodeList(out *decoded, n *yaml.Node) {
	for _, p := range pairs(n, 0) {
		items := deref(p.value)
		if p.key.Value != "items" || items.Kind != yaml.SequenceNode {
			continue
		}
		for i, item := range items.Content {
			d.decodeObject(out, item, fmt.Sprintf("items[%d]", i))
		}
	}
}

// at is the place of a field of an object.
func (d *document) at(n *yaml.Node, path string) (line, column int) {
	f := find(n, path)
	return f.Line + d.offset, f.Column
}

// read makes the object of a node that was checked. A failure becomes a problem and nil; what its schema has
// against it becomes problems as well.
func (c *checker) read(n *yaml.Node, k *kind) metav1.Object {
	v, err := new(expansion).value(n)
	if err == nil && k.schema != nil {
		var s *schema
		if s, err = k.schema(); err == nil {
			v, err = c.held(n, s, v)
		}
	}
	if err == nil {
		var data []byte
		if data, err = json.Marshal(v); err == nil {
			obj := reflect.New(k.typ).Interface()
			if err = json.Unmarshal(data, obj); err == nil {
				return obj.(metav1.Object)
			}
		}
	}
	c.add(n, "", "cannot be read: "+strings.TrimPrefix(err.Error(), "json: "), "")
	return nil
}

// head is what identifies an object, read without regard to the rest.
type head struct{ apiVersion, kind, namespace, name string }

func headOf(n *yaml.Node) head {
	var h head
	text := func(v *yaml.Node) string {
		if v = deref(v); v.Kind == yaml.ScalarNode && v.ShortTag() != "!!null" {
			return v.Value
		}
		return ""
	}
	for _, p := range pairs(n, 0) {
		switch p.key.Value {
		case "apiVersion":
			h.apiVersion = text(p.value)
		case "kind":
			h.kind = text(p.value)
		case "metadata":
			if m := deref(p.value); m.Kind == yaml.MappingNode {
				for _, q := range pairs(m, 0) {
					switch q.key.Value {
					case "name":
						h.name = text(q.value)
					case "namespace":
						h.namespace = text(q.value)
					}
				}
			}
		}
	}
	return h
}

func (h head) lookup() (*kind, *Problem) {
	switch {
	case h.apiVersion == "":
		return nil, &Problem{Severity: Error, Message: "apiVersion is missing", Suggestion: "every object begins with apiVersion and kind"}
	case h.kind == "":
		return nil, &Problem{Severity: Error, Message: "kind is missing", Suggestion: "every object begins with apiVersion and kind"}
	}
	return lookup(h.apiVersion, h.kind)
}

// key is the identity of an object of this kind.
func (k *kind) key(h head) key {
	out := key{kind: k.name, namespace: h.namespace, name: h.name}
	if !k.namespaced {
		out.namespace = ""
	} else if out.namespace == "" {
		out.namespace = "default"
	}
	return out
}

// inspection collects what is wrong with an object beyond its types.
type inspection struct {
	c    *checker
	root *yaml.Node
}

// fail reports a field.
func (v *inspection) fail(path, message, suggestion string) {
	v.c.add(find(v.root, path), path, message, suggestion)
}

// oneOf reports a value that is none of those allowed.
func oneOf[T ~string](v *inspection, path string, value T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		if a == value {
			return
		}
		names[i] = string(a)
	}
	hint := "write one of " + strings.Join(names, ", ")
	if s := nearest(string(value), names); s != "" {
		hint = "did you mean " + s + "?"
	}
	v.fail(path, fmt.Sprintf("unknown value %q", value), hint)
}

// identity checks name and namespace.
func (v *inspection) identity(k *kind, o metav1.Object) {
	switch {
	case o.GetName() == "":
		v.fail("metadata", "metadata.name is missing", "")
	case len(validation.IsDNS1123Subdomain(o.GetName())) > 0:
		v.fail("metadata.name", fmt.Sprintf("%q is not a name", o.GetName()), "use lower-case letters, digits, - and .")
	}
	if k.namespaced && len(validation.IsDNS1123Label(o.GetNamespace())) > 0 {
		v.fail("metadata.namespace", fmt.Sprintf("%q is not a namespace", o.GetNamespace()), "use lower-case letters, digits and -")
	}
	if !k.namespaced && o.GetNamespace() != "" {
		v.fail("metadata.namespace", "a "+k.name+" has no namespace", "leave the field out")
	}
}
