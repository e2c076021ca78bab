package source

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is one YAML document of a file.
type document struct {
	file   string
	offset int // lines of the file before the document's first
	text   []byte
}

// split divides a file at its document markers, so that a broken document does not take the others along.
func split(file string, data []byte) []*document {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	var docs []*document
	start, line, offset := 0, 0, 0
	add := func(end int) {
		if text := data[start:end]; len(bytes.TrimSpace(text)) > 0 {
			docs = append(docs, &document{file: file, offset: offset, text: text})
		}
	}
	for pos := 0; pos < len(data); {
		end := bytes.IndexByte(data[pos:], '\n')
		next := len(data)
		if end >= 0 {
			next = pos + end + 1
		}
		if isMarker(data[pos:next]) {
			add(pos)
			// What stands on the marker's own line belongs to the new document: keep the marker with it.
			start, offset = pos, line
		}
		pos = next
		line++
	}
	add(len(data))
	return docs
}

func isMarker(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || strings.ContainsRune(" \t\r\n", rune(line[3])))
}

// parse returns the root node, nil for a document without content. The error is a *syntaxError.
func (d *document) parse() (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil { // a bug of the parser must not end the controller
			root, err = nil, &syntaxError{line: d.offset + 1, message: fmt.Sprint(r)}
		}
	}()
	var n yaml.Node
	if err := yaml.Unmarshal(d.text, &n); err != nil {
		return nil, d.syntaxError(err)
	}
	if n.Kind != yaml.DocumentNode || len(n.Content) == 0 {
		return nil, nil
	}
	root = n.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	return root, nil
}

type syntaxError struct {
	line    int
	message string
}

func (e *syntaxError) Error() string { return e.message }

// syntaxError takes the line out of the parser's words ("yaml: line 3: did not find …").
func (d *document) syntaxError(err error) *syntaxError {
	out := &syntaxError{line: d.offset + 1, message: strings.TrimPrefix(err.Error(), "yaml: ")}
	rest, ok := strings.CutPrefix(out.message, "line ")
	if !ok {
		return out
	}
	num, msg, ok := strings.Cut(rest, ": ")
	if n, err := strconv.Atoi(num); ok && err == nil {
		out.line, out.message = d.offset+n, msg
		if strings.HasPrefix(msg, "did not find expected") { // the parser counts these from 0
			out.line++
		}
		lines := bytes.Count(bytes.TrimRight(d.text, "\n"), []byte("\n")) + 1
		out.line = min(out.line, d.offset+lines)
	}
	return out
}

func deref(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil && i < 16; i++ {
		n = n.Alias
	}
	return n
}
