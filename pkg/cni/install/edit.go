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

// spans walks through text, which is valid JSON. Of several fields "plugins", runtimes take the last.
func spans(text []byte) (out []span, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil { // {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errMalformed, err)
		}
		var value json.RawMessage
		if key != "plugins" {
			if err := dec.Decode(&value); err != nil {
				return nil, fmt.Errorf("%w: %w", errMalformed, err)
			}
			continue
		}
		if out, err = elements(dec); err != nil {
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no plugins", errMalformed)
	}
	return out, nil
}

// elements reads an array of plugins.
func elements(dec *json.Decoder) (out []span, err error) {
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
		if err := json.Unmarshal(value, &p); err != nil || p.Type == "" {
			return nil, fmt.Errorf("%w: plugin %d has no type", errMalformed, len(out)+1)
		}
		end := int(dec.InputOffset())
		out = append(out, span{start: end - len(value), end: end, plugin: p.Type})
	}
	_, err = dec.Token() // ]
	return out, err
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

// unchain takes our entries out; the opposite of chain, to the byte.
func unchain(text []byte) ([]byte, error) {
	ps, err := parseList(text)
	if err != nil {
		return nil, err
	}
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
		text = slices.Concat(text[:from], text[to:])
		ps = slices.Delete(ps, i, i+1)
	}
	return text, nil
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
