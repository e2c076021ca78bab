package wire

import (
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// EncodeRange makes the wire form of a range; its resource name is Range.Key().
func EncodeRange(r *model.Range) *weftv1.Range {
	return &weftv1.Range{Prefix: r.Prefix.String(), Services: r.Services}
}

// DecodeRange reads a range. Errors wrap ErrUnreadable.
func DecodeRange(b []byte) (*model.Range, error) {
	in := &weftv1.Range{}
	if err := proto.Unmarshal(b, in); err != nil {
		return nil, unreadable("%w", err)
	}
	p, err := netip.ParsePrefix(in.GetPrefix())
	if err != nil {
		return nil, unreadable("%w", err)
	}
	if p != p.Masked() {
		return nil, unreadable("%s is not a range: %s is", p, p.Masked())
	}
	return &model.Range{Prefix: p, Services: in.GetServices()}, nil
}

// SameRange compares.
func SameRange(a, b *model.Range) bool { return *a == *b }
