package inbound

import (
	"net/netip"
	"slices"
	"testing"
)

// FuzzTarget: whatever a caller names, what is let through is an application's port of this very pod.
func FuzzTarget(f *testing.F) {
	pod := []netip.Addr{netip.MustParseAddr("10.244.1.1"), netip.MustParseAddr("fd00:244::1")}
	for _, s := range []string{"10.244.1.1:80", "[fd00:244::1]:80", "[::ffff:10.244.1.1]:15008", "[fd00:244::1%lo]:80", "127.1:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		dst, failure := target(authority, pod)
		if failure == nil && (!slices.Contains(pod, dst.Addr()) || dst.Port() == 0 || slices.Contains(ownPorts, dst.Port())) {
			t.Errorf("%q led to %s", authority, dst)
		}
	})
}

// FuzzForwardedFor: what is believed can be the address of a client.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{`for="10.0.0.1:80"`, `for="[::1]"`, `by=a;for=b`, `for="[fe80::1%eth0]:1"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if a, ok := forwardedFor(header); ok && (!a.Addr().IsGlobalUnicast() || a.Addr().IsLoopback() || a.Addr().Zone() != "" || a.Addr().Is4In6()) {
			t.Errorf("%q was taken for %s", header, a)
		}
	})
}
