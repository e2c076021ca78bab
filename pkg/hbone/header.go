package hbone

import "github.com/weftmesh/weft/pkg/hbone/engine"

// Field is a header field; its name is in lower case.
type Field = engine.Field

// Header is the regular header fields of a request or response, in order.
type Header []Field

// Get returns the first value of name (in lower case), "" without one.
func (h Header) Get(name string) string {
	for _, f := range h {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}
