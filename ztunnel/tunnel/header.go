package tunnel

import (
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
