package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestPodRanges(t *testing.T) {
	var list []netip.Prefix
	f := prefixes{&list}
	if err := f.Set("10.1.2.3/14, fd00::/48"); err != nil || f.String() != "10.0.0.0/14,fd00::/48" {
		t.Errorf("%v: %q", err, f.String())
	}
	for _, bad := range []string{"", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/8,,", "pods"} {
		if err := f.Set(bad); err == nil || !strings.Contains(err.Error(), "is no block of addresses: write 10.0.0.0/14") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
