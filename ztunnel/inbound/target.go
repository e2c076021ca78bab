package inbound

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// ownPorts are ztunnel's listeners in the pod: nobody may be led to them through itself.
var ownPorts = []uint16{15001, 15006, 15008}

// target reads the :authority of a CONNECT: it must be an address of this pod and an application's port.
func target(authority string, pod []netip.Addr) (netip.AddrPort, *flow.Failure) {
	dst, err := netip.ParseAddrPort(authority)
	if err != nil {
		return netip.AddrPort{}, bad(fmt.Sprintf("CONNECT to %q: want an address and a port", clip(authority)),
			"the caller named something else than a pod; names are for waypoints and gateways")
	}
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if f := checkTarget(dst, pod); f != nil {
		return netip.AddrPort{}, f
	}
	return dst, nil
}

// checkTarget refuses what is not an application of this pod.
func checkTarget(dst netip.AddrPort, pod []netip.Addr) *flow.Failure {
	switch {
	case dst.Addr().IsLoopback(), dst.Addr().IsUnspecified(), dst.Addr().Zone() != "":
		return bad(fmt.Sprintf("connection to %s refused", dst), "loopback belongs to the pod alone")
	case dst.Port() == 0:
		return bad("connection to port 0 refused", "")
	case slices.Contains(ownPorts, dst.Port()):
		return bad(fmt.Sprintf("connection to %s refused", dst), "ports 15001, 15006 and 15008 are ztunnel's own and would lead in a circle")
	case !slices.Contains(pod, dst.Addr()):
		return bad(fmt.Sprintf("%s is not an address of this pod", dst.Addr()),
			"the caller's configuration may be old: the address may have belonged to a pod that is gone")
	}
	return nil
}

func bad(cause, hint string) *flow.Failure {
	return &flow.Failure{Flag: telemetry.FlagProtocol, Cause: cause, Hint: hint}
}

// clip keeps what strangers send short in logs.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "..."
	}
	return s
}

// status is the reply to a CONNECT that ended in f.
func status(f *flow.Failure) int {
	switch f.Flag {
	case telemetry.FlagDenied:
		return http.StatusUnauthorized
	case telemetry.FlagProtocol:
		return http.StatusBadRequest
	}
	return http.StatusServiceUnavailable
}

// speaksForOthers reports that a peer may name the client it acts for in the forwarded header: a waypoint
// or gateway of the mesh, known at the very address it calls from and under the identity it proved.
func speaksForOthers(at *model.Workload, proved identity.Identity) bool {
	return at != nil && at.NativeTunnel && at.Identity() == proved
}

// forwardedFor reads the first for= of a Forwarded header (RFC 7239): an address, with a port or without.
func forwardedFor(header string) (netip.AddrPort, bool) {
	first, _, _ := strings.Cut(header, ",")
	for part := range strings.SplitSeq(first, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || !strings.EqualFold(name, "for") {
			continue
		}
		value = strings.Trim(value, `"`)
		if ap, err := netip.ParseAddrPort(value); err == nil {
			return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), usable(ap.Addr())
		}
		if a, err := netip.ParseAddr(strings.Trim(value, "[]")); err == nil {
			return netip.AddrPortFrom(a.Unmap(), 0), usable(a)
		}
		return netip.AddrPort{}, false
	}
	return netip.AddrPort{}, false
}

// usable refuses addresses that no client has: a socket must not pretend to be one of them.
func usable(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && a.Zone() == ""
}
