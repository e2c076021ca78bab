package translate

import (
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// requestHeaders compiles a change of request headers. A Host that is set is returned, for Envoy wants it
// as a rewrite of the host.
func requestHeaders(c model.HeaderChange, add *[]*corev3.HeaderValueOption, remove *[]string) (host string, err error) {
	kept := model.HeaderChange{Add: c.Add, Remove: c.Remove}
	for _, h := range c.Set {
		if strings.EqualFold(h.Name, "host") {
			host = h.Value
			continue
		}
		kept.Set = append(kept.Set, h)
	}
	return host, headerChange(kept, add, remove)
}

func responseHeaders(c model.HeaderChange, add *[]*corev3.HeaderValueOption, remove *[]string) error {
	return headerChange(c, add, remove)
}

func headerChange(c model.HeaderChange, add *[]*corev3.HeaderValueOption, remove *[]string) error {
	for _, h := range c.Set {
		if err := changeable(h.Name); err != nil {
			return err
		}
		*add = append(*add, setHeader(h.Name, escapePercent(h.Value)))
	}
	for _, h := range c.Add {
		if err := changeable(h.Name); err != nil {
			return err
		}
		o := setHeader(h.Name, escapePercent(h.Value))
		o.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		*add = append(*add, o)
	}
	for _, name := range c.Remove {
		if err := changeable(name); err != nil {
			return err
		}
		*remove = append(*remove, name)
	}
	return nil
}

// changeable names the headers that are not a route's to change: Envoy's own, and those that carry the
// caller's identity.
func changeable(name string) error {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, ":") || lower == "host":
		return fmt.Errorf("header %s cannot be added or removed; set Host, or rewrite the URL's hostname", name)
	case lower == headerDst || lower == headerXFCC:
		return fmt.Errorf("header %s is the mesh's own and cannot be changed by a route", name)
	}
	return nil
}

// escapePercent keeps a value from being read as a format string.
func escapePercent(s string) string { return strings.ReplaceAll(s, "%", "%%") }
