package index

import (
	"net/netip"

	"github.com/weftmesh/weft/pkg/model"
)

// UpsertRange puts a range, or replaces it.
func (x *Index) UpsertRange(r *model.Range) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ranges.Insert(r.Prefix, r)
	x.generation.Add(1)
}

// RemoveRange takes a range away.
func (x *Index) RemoveRange(p netip.Prefix) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ranges.Delete(p)
	x.generation.Add(1)
}

// RangeOf finds the narrowest range that an address was given from, nil if there is none.
func (x *Index) RangeOf(a netip.Addr) *model.Range {
	a = plain(a)
	x.mu.RLock()
	defer x.mu.RUnlock()
	if r, ok := x.ranges.Lookup(a); ok && r.Holds(a) {
		return r
	}
	return nil
}
