package engine

import "slices"

// earlyBlocks are header blocks that came before the peer acknowledged that it has no table. Until then the
// decoder has a state, which hpack shows to nobody: Import makes it again of these.
type earlyBlocks struct {
	blocks [][]byte
	size   int
	over   bool // there were more than are kept
}

const (
	earlyMost  = 16 << 10 // bytes
	earlyCount = 1 << 10  // blocks
)

func (e *earlyBlocks) add(b []byte) {
	if e.size += len(b); e.size > earlyMost || len(e.blocks) == earlyCount {
		e.blocks, e.over = nil, true
	}
	if !e.over {
		e.blocks = append(e.blocks, slices.Clone(b))
	}
}
