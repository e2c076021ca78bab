package wire

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// A controller that compiles everything anew hands over 100,000 workloads of which one differs: these
// comparisons decide how long that takes. reflect.DeepEqual needs ten times as long.

func SameWorkload(a, b *model.Workload) bool {
	if !slices.Equal(a.Addresses, b.Addresses) || !slices.Equal(a.Policies, b.Policies) || !sameGateway(a.Waypoint, b.Waypoint) ||
		!maps.EqualFunc(a.Services, b.Services, func(x, y []model.Port) bool { return slices.Equal(x, y) }) {
		return false
	}
	return a.UID == b.UID && a.Name == b.Name && a.Namespace == b.Namespace && a.ServiceAccount == b.ServiceAccount && a.TrustDomain == b.TrustDomain &&
		a.Hostname == b.Hostname && a.Network == b.Network && a.Node == b.Node && a.Cluster == b.Cluster && a.Locality == b.Locality &&
		a.Protocol == b.Protocol && a.NativeTunnel == b.NativeTunnel && a.CanonicalName == b.CanonicalName && a.CanonicalRev == b.CanonicalRev &&
		a.OwnerKind == b.OwnerKind && a.OwnerName == b.OwnerName && a.Unhealthy == b.Unhealthy && a.HostNetwork == b.HostNetwork
}

func sameGateway(a, b *model.Gateway) bool {
	return a == b || (a != nil && b != nil && *a == *b)
}

func SameService(a, b *model.Service) bool {
	return a.Name == b.Name && a.Namespace == b.Namespace && a.Hostname == b.Hostname && slices.Equal(a.Addresses, b.Addresses) &&
		slices.Equal(a.Ports, b.Ports) && slices.Equal(a.SubjectAltNames, b.SubjectAltNames) && sameGateway(a.Waypoint, b.Waypoint) &&
		slices.Equal(a.Preference, b.Preference) && a.StrictPreference == b.StrictPreference && a.PublishNotReady == b.PublishNotReady && a.Canonical == b.Canonical && sameTraffic(a, b)
}

// sameTraffic compares what few services have.
func sameTraffic(a, b *model.Service) bool {
	return (len(a.Faults)|len(b.Faults) == 0 || reflect.DeepEqual(a.Faults, b.Faults)) &&
		(len(a.Carriage)|len(b.Carriage) == 0 || reflect.DeepEqual(a.Carriage, b.Carriage)) &&
		(len(a.Probes)|len(b.Probes) == 0 || reflect.DeepEqual(a.Probes, b.Probes)) && slices.Equal(a.Samples, b.Samples)
}

func SamePolicy(a, b *model.Policy) bool { return reflect.DeepEqual(a, b) }
