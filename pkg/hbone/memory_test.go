package hbone

import (
	"io"
	"runtime"
	"testing"
)

// An idle connection that has moved data holds no buffer: a stream and a socket on each side, and on the
// goroutine driver a goroutine with the least stack that the runtime leaves one (4 KiB). About 2 KiB of what is
// measured are the applications' ends.
func TestIdleMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory would be measured")
	}
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	use := func(p *spliced) {
		go p.client.Write(make([]byte, 200<<10))
		if _, err := io.ReadFull(p.server, make([]byte, 200<<10)); err != nil {
			t.Fatal(err)
		}
	}
	use(w.splice(l, SpliceOptions{}))
	heap, stack := inUse()
	const n = 1000
	for range n {
		use(w.splice(l, SpliceOptions{}))
	}
	h, s := inUse()
	heap, stack = (h-heap)/n, (s-stack)/n
	t.Logf("%d bytes of heap and %d of stacks for an idle connection: both proxies, and the applications' sockets", heap, stack)
	most := map[string][2]int{"stdlib": {10 << 10, 9 << 10}, "records": {6 << 10, 1 << 10}}[underTest]
	if heap > most[0] || stack > most[1] {
		t.Errorf("more than %d bytes of heap and %d of stacks", most[0], most[1])
	}
}

func inUse() (heap, stack int) {
	var m runtime.MemStats
	for range 4 { // empties the pools, too, and shrinks stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}
