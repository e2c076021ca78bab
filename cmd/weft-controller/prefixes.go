package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// prefixes is a flag: blocks of addresses, by commas.
type prefixes struct{ list *[]netip.Prefix }

// Type is what --help calls it.
func (prefixes) Type() string { return "prefixes" }

func (p prefixes) String() string {
	if p.list == nil {
		return ""
	}
	var out []string
	for _, x := range *p.list {
		out = append(out, x.String())
	}
	return strings.Join(out, ",")
}

// Set adds what a flag says.
func (p prefixes) Set(text string) error {
	for block := range strings.SplitSeq(text, ",") {
		x, err := netip.ParsePrefix(strings.TrimSpace(block))
		if err != nil {
			return fmt.Errorf("%q is no block of addresses: write 10.0.0.0/14: %w", block, err)
		}
		*p.list = append(*p.list, x.Masked())
	}
	return nil
}
