package xds

import (
	"net/netip"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

func sameRange(a, b *model.Range) bool { return *a == *b }

func encodeRange(r *model.Range) *weftv1.Range {
	return &weftv1.Range{Prefix: r.Prefix.String(), Services: r.Services}
}

func (d *Delta) addRange(r *discoveryv3.Resource) (name string, err error) {
	in := &weftv1.Range{}
	if err := proto.Unmarshal(r.GetResource().GetValue(), in); err != nil {
		return "", unreadable("%w", err)
	}
	p, err := netip.ParsePrefix(in.GetPrefix())
	if err != nil {
		return "", unreadable("%w", err)
	}
	if p != p.Masked() || p.String() != r.GetName() {
		return "", unreadable("it is of %s", p)
	}
	d.Ranges = append(d.Ranges, &model.Range{Prefix: p, Services: in.GetServices()})
	return r.GetName(), nil
}

func (d *Delta) removeRanges(names []string) {
	for _, name := range names {
		if p, err := netip.ParsePrefix(name); err == nil { // nothing else was ever applied
			d.RemovedRanges = append(d.RemovedRanges, p)
		}
	}
}
