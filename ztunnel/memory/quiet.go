package memory

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What a burst of connections leaves behind is garbage that nobody collects before as much again is allocated, which may
// be never. So when it has become quiet, it is collected and given back to the machine.

const (
	// leastGarbage there may be before it is collected, in bytes, and as a share of what is in use, in percent. Go's
	// default for the latter is 100: moving bytes allocates nothing, so only new connections pay for less.
	leastGarbage, leastShare = 4 << 20, 25
	// quietBytes allocated at most in quietFor: it is quiet.
	quietBytes = 256 << 10
	quietFor   = time.Second
	// worthIt is how much there must be to give back, and that it is an eighth of what is in use.
	worthIt = 2 << 20
	// freeEvery is how often that is done at most.
	freeEvery = 10 * time.Second
)

// heap is what Go's heap says of itself, in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // found by the last collection
	spare     uint64 // allocated since then, or free and not given back
}

func readHeap() heap {
	s := [...]metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s[:])
	v := func(i int) uint64 { return s[i].Value.Uint64() }
	return heap{allocated: v(0), live: v(1), spare: v(2) - min(v(2), v(1)) + v(3)}
}

// quiet finds the moments at which memory is worth giving back.
type quiet struct {
	at           uint64    // allocated when
	since, freed time.Time // it became quiet, and was given back last
	share        int       // how much garbage there may be
}

func (q *quiet) is(now time.Time, h heap) bool {
	if q.since.IsZero() || h.allocated-q.at > quietBytes {
		q.at, q.since = h.allocated, now
		return false
	}
	if now.Sub(q.since) < quietFor {
		return false
	}
	q.at, q.since = h.allocated, now
	if h.spare < max(worthIt, h.live/8) || !q.freed.IsZero() && now.Sub(q.freed) < freeEvery {
		return false
	}
	q.freed = now
	return true
}

// share is how much garbage there may be beside so many bytes in use, in percent of them.
func share(live uint64) int {
	return int(max(leastShare, min(100, leastGarbage*100/max(1, live))))
}

// tidy collects and gives back, if this is the moment.
func (q *quiet) tidy() {
	h := readHeap()
	if n := share(h.live); n < q.share*9/10 || n > q.share*11/10 { // each change stops the world for a moment
		debug.SetGCPercent(n)
		q.share = n
	}
	if q.is(time.Now(), h) {
		debug.FreeOSMemory()
	}
}
