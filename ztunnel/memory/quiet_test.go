package memory

import (
	"testing"
	"time"
)

// What a burst leaves behind is given back once, when it is quiet, and not while connections come or for next to nothing.
func TestMemoryIsGivenBackWhenItIsQuiet(t *testing.T) {
	now := time.Unix(1000, 0)
	var q quiet
	h := heap{live: 20 << 20}
	// look lets d pass in steps in which n bytes are allocated, and counts the moments that were found.
	look := func(d time.Duration, n uint64) (found int) {
		for end := now.Add(d); now.Before(end); now = now.Add(lookEvery) {
			h.allocated += n
			h.spare += n
			if q.is(now, h) {
				found++
				h.spare = 0
			}
		}
		return found
	}
	if n := look(5*time.Second, 1<<20); n != 0 {
		t.Errorf("given back %d times in a burst", n)
	}
	if n := look(5*time.Second, 100); n != 1 {
		t.Errorf("given back %d times after a burst", n)
	}
	if n := look(time.Minute, 100); n != 0 {
		t.Errorf("given back %d times although there is next to nothing", n)
	}
	look(time.Second, 4<<20)
	if n := look(5*time.Second, 100); n != 1 {
		t.Errorf("given back %d times after the second burst", n)
	}
	look(time.Second, 4<<20)
	if n := look(2*time.Second, 100); n != 0 {
		t.Error("given back again too soon")
	}
	if n := look(freeEvery, 100); n != 1 {
		t.Errorf("given back %d times after the third burst", n)
	}
	h.live = 1 << 30
	h.spare = 100 << 20
	if n := look(time.Minute, 100); n != 0 {
		t.Errorf("given back %d times although a tenth of what is in use is not worth a collection", n)
	}
}

// The more is in use, the smaller the share of it that may be garbage.
func TestShareOfGarbage(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, 4 << 20: 100, 8 << 20: 50, 20 << 20: 25, 1 << 30: 25} {
		if got := share(live); got != want {
			t.Errorf("%d%% of %d bytes, want %d%%", got, live, want)
		}
	}
}

func TestHeapIsRead(t *testing.T) {
	if h := readHeap(); h.allocated == 0 {
		t.Errorf("%+v", h)
	}
}
