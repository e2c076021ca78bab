package xds

import (
	"slices"
	"strconv"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// A client that knows nothing yet and says that it takes parts is sent all resources in parts of some size, the next
// one when it has answered the one before: neither end has to hold the encoding of everything. It walks through
// the order of resources as they are at each step; what changes meanwhile is in the log behind the place where the
// walk began, and that is sent when it is through.

// partBytes is the usual size at which a part ends.
const partBytes = 512 << 10

// order gives each resource a slot that it keeps.
type order struct {
	names []string // "" where none is
	free  []int32
}

func (o *order) add(name string) int32 {
	if n := len(o.free); n > 0 {
		slot := o.free[n-1]
		o.free, o.names[slot] = o.free[:n-1], name
		return slot
	}
	o.names = append(o.names, name)
	return int32(len(o.names) - 1)
}

func (o *order) remove(slot int32) {
	o.names[slot] = ""
	o.free = append(o.free, slot)
}

func takesParts(r *cache.DeltaRequest) bool {
	return r.GetTypeUrl() == wire.TypeAddress && slices.Contains(r.GetNode().GetClientFeatures(), wire.TakesParts)
}

// part answers a client that began to walk at a place in the log with what is in the slots from next on. Call with
// mu held.
func (c *deltaCache) part(r *cache.DeltaRequest, at uint64, next int) cache.DeltaResponse {
	out := &content{frames: make([]byte, 0, c.partSize+c.partSize/8)}
	for ; next < len(c.order.names) && len(out.frames) < c.partSize; next++ {
		if name := c.order.names[next]; name != "" {
			c.add(out, name)
		}
	}
	mark, version := strconv.FormatUint(at, 10), strconv.FormatUint(at, 10)
	if next < len(c.order.names) {
		mark, version = mark+"+"+strconv.Itoa(next), wire.Part(version)
	}
	return &deltaAnswer{request: r, at: mark, message: c.message(out, version)}
}

// readMark reads what deltaAnswer.at is: a place in the log, and in a walk the next slot.
func readMark(mark string) (at uint64, next int, err error) {
	place, slot, walks := strings.Cut(mark, "+")
	if at, err = strconv.ParseUint(place, 10, 64); err != nil || !walks {
		return at, 0, err
	}
	next, err = strconv.Atoi(slot)
	return at, next, err
}
