package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/cni"
)

// errMalformed: a file is not what a runtime could use either.
var errMalformed = errors.New("malformed CNI configuration")

// span is one plugin of a list: text[start:end].
type span struct {
	start, end int
	plugin     string // its type
}

func (s span) ours() bool { return s.plugin == cni.PluginName }

// parseList finds the plugins of a list in its text.
func parseList(text []byte) ([]span, error) {
	var head struct {
		Name    string            `json:"name"`
		Plugins []json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	switch {
	case head.Name == "":
		return nil, fmt.Errorf("%w: no name", errMalformed)
	case len(head.Plugins) == 0:
		return nil, fmt.Errorf("%w: no plugins inside (a list that loads them from a folder cannot be chained to)", errMalformed)
	}
	return spans(text)
}

// spans finds the list that counts in text, which is valid JSON: of several fields "plugins", the last.
func spans(text []byte) (out []span, err error) {
	err = members(text, 0, func(key string, at int, value []byte) error {
		if key != "plugins" {
			return nil
		}
		out, err = elements(value, at)
		return err
	})
	for i, p := range out {
		if p.plugin == "" {
			return nil, fmt.Errorf("%w: plugin %d has no type", errMalformed, i+1)
		}
	}
	return out, err
}

// everyList finds all fields "plugins" that are lists, at any depth.
func everyList(text []byte) (lists [][]span, err error) {
	var walk func(text []byte, at int) error
	walk = func(text []byte, at int) error {
		switch text[0] {
		case '{':
			return members(text, at, func(key string, at int, value []byte) error {
				if key == "plugins" && value[0] == '[' {
					ps, err := elements(value, at)
					if err != nil {
						return err
					}
					lists = append(lists, ps)
				}
				return walk(value, at)
			})
		case '[':
			ps, err := elements(text, at)
			for i := 0; i < len(ps) && err == nil; i++ {
				err = walk(text[ps[i].start-at:ps[i].end-at], ps[i].start)
			}
			return err
		}
		return nil
	}
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	err = walk(trimmed, len(text)-len(trimmed))
	return lists, err
}

// members calls f for each member of an object that begins at the given offset of the whole text.
func members(object []byte, at int, f func(key string, at int, value []byte) error) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("%w: not an object", errMalformed)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if err := f(key.(string), at+int(dec.InputOffset())-len(value), value); err != nil {
			return err
		}
	}
	return nil
}

// elements are those of an array that begins at the given offset of the whole text.
func elements(array []byte, at int) (out []span, err error) {
	dec := json.NewDecoder(bytes.NewReader(array))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, fmt.Errorf("%w: plugins is not a list", errMalformed)
	}
	for dec.More() {
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
		var p struct {
			Type string `json:"type"`
		}
		_ = json.Unmarshal(value, &p) // what is no plugin has no type
		end := at + int(dec.InputOffset())
		out = append(out, span{start: end - len(value), end: end, plugin: p.Type})
	}
	return out, nil
}

// chain puts entry behind the last plugin of a list and takes other entries of ours out. A list that has just this
// entry, though not as its first, is left as it is: another plugin may have been chained behind it.
func chain(text, entry []byte) ([]byte, error) {
	ps, err := parseList(text)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(ps, span.ours); i >= 0 {
		if i > 0 && bytes.Equal(text[ps[i].start:ps[i].end], entry) && !slices.ContainsFunc(ps[i+1:], span.ours) {
			return text, nil
		}
		if text, err = unchain(text); err != nil {
			return nil, err
		}
		if ps, err = parseList(text); err != nil {
			return nil, err
		}
	}
	last := ps[len(ps)-1]
	indent := last.start
	for indent > 0 && bytes.IndexByte([]byte(" \t\r\n"), text[indent-1]) >= 0 {
		indent--
	}
	return slices.Concat(text[:last.end], []byte(","), text[indent:last.start], entry, text[last.end:]), nil
}

// unchain takes our entries out; the opposite of chain, to the byte. It looks at each list of plugins at any depth:
// Multus writes the lists of others into its own configuration.
func unchain(text []byte) ([]byte, error) {
	if !json.Valid(text) {
		return nil, fmt.Errorf("%w: not JSON", errMalformed)
	}
	for {
		next, err := unchainOne(text)
		if err != nil || next == nil {
			return text, err
		}
		text = next
	}
}

// unchainOne takes the last entry out; nil: there is none.
func unchainOne(text []byte) ([]byte, error) {
	lists, err := everyList(text)
	if err != nil {
		return nil, err
	}
	for _, ps := range lists {
		for i := len(ps) - 1; i >= 0; i-- {
			if !ps[i].ours() {
				continue
			}
			from, to := ps[i].start, ps[i].end
			switch {
			case i > 0:
				from = ps[i-1].end
			case len(ps) > 1:
				to = ps[1].start
			}
			return slices.Concat(text[:from], text[to:]), nil
		}
	}
	return nil, nil
}

// chained tells whether our entry is in a list.
func chained(text []byte) bool {
	ps, err := parseList(text)
	return err == nil && slices.ContainsFunc(ps, span.ours)
}

// convert makes a list of the configuration of a single plugin.
func convert(text []byte) ([]byte, error) {
	var one struct {
		Version string `json:"cniVersion"`
		Name    string `json:"name"`
		Type    string `json:"type"`
	}
	if err := json.Unmarshal(text, &one); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if one.Type == "" || one.Name == "" {
		return nil, fmt.Errorf("%w: no type or no name of a network (a list belongs into a file .conflist)", errMalformed)
	}
	head, err := json.Marshal(struct {
		Version string `json:"cniVersion,omitempty"`
		Name    string `json:"name"`
	}{one.Version, one.Name})
	if err != nil {
		return nil, err
	}
	return slices.Concat(bytes.TrimSuffix(head, []byte("}")), []byte(",\"plugins\":[\n"), bytes.TrimSpace(text), []byte("\n]}\n")), nil
}
