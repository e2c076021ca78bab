package tunnel

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// baggage describes the calling workload (W3C Baggage, attribute names of OpenTelemetry) to the far end.
func baggage(w *model.Workload) string {
	var b strings.Builder
	add := func(key, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(key)
		b.WriteByte('=')
		b.WriteString(url.PathEscape(value))
	}
	kind, owner := w.OwnerKind, w.OwnerName
	if kind == "" || owner == "" {
		kind, owner = "pod", w.Name
	}
	add("k8s.cluster.name", w.Cluster)
	add("k8s.namespace.name", w.Namespace)
	add("k8s."+kind+".name", owner)
	add("service.name", w.CanonicalName)
	add("service.version", w.CanonicalRev)
	add("cloud.region", w.Locality.Region)
	add("cloud.availability_zone", w.Locality.Zone)
	return b.String()
}

// forwarded names the client's own socket (RFC 7239), and the service that it dialled if there is one.
func forwarded(client netip.AddrPort, service string) string {
	b := make([]byte, 0, 96)
	b = append(b, `for="`...)
	b = client.AppendTo(b)
	b = append(b, '"')
	if service != "" {
		b = append(b, ";host="...)
		b = append(b, service...)
	}
	return string(b)
}

// traceparent begins a trace of its own for a connection (W3C Trace Context), which nobody has sampled.
func traceparent() string {
	var id [24]byte
	for i := 0; i < len(id); i += 8 {
		for n, j := rand.Uint64(), 0; j < 8; n, j = n>>8, j+1 {
			id[i+j] = byte(n)
		}
	}
	id[0] |= 1 // neither id may be all zeros
	id[16] |= 1
	b := make([]byte, 0, 55)
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, id[:16])
	b = append(b, '-')
	b = hex.AppendEncode(b, id[16:])
	return string(append(b, "-00"...))
}
