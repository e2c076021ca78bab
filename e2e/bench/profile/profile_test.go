package profile

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"runtime/trace"
	"strings"
	"sync"
	"testing"

	"github.com/google/pprof/profile"
)

// made is a profile of stacks, the innermost function first, with their values.
func made(stacks map[string]int64) *profile.Profile {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples"}, {Type: "cpu"}}}
	for stack, v := range stacks {
		s := &profile.Sample{Value: []int64{1, v}}
		for name := range strings.SplitSeq(stack, " ") {
			s.Location = append(s.Location, &profile.Location{Line: []profile.Line{{Function: &profile.Function{Name: name}}}})
		}
		p.Sample = append(p.Sample, s)
	}
	return p
}

func TestShares(t *testing.T) {
	const hbone = "github.com/weftmesh/weft/pkg/hbone."
	got := Shares(made(map[string]int64{
		"internal/runtime/syscall/linux.Syscall6 " + hbone + "rawIO " + hbone + "(*tunnel).readOnce " + hbone + "(*shard).run": 10,
		"internal/runtime/syscall.Syscall6 syscall.RawSyscall " + hbone + "(*vector).write " + hbone + "(*shard).run":          30,
		"crypto/internal/fips140/aes/gcm.gcmAesEnc " + hbone + "(*tunnel).send":                                                20,
		"crypto/internal/fips140/aes/gcm.gcmAesEnc crypto/tls.(*Conn).handshakeContext " + hbone + "x":                         5,
		"runtime.futex runtime.schedule":                               5,
		"runtime.memmove " + hbone + "x":                               10,
		hbone + "(*line).push":                                         15,
		"syscall.Syscall net.(*conn).Close weft/ztunnel/inpod.serve x": 5,
	}))
	for kind, want := range map[string]float64{Read: .1, Write: .3, AES: .2, Handshake: .05, Wake: .05, Copy: .1, Tunnel: .15, Sockets: .05} {
		if math.Abs(got[kind]-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", kind, got[kind], want)
		}
	}
	for kind := range got {
		if colours[kind] == "" {
			t.Errorf("%s has no colour", kind)
		}
	}
}

// The same profile gives the same picture, and no profile a picture that is too large.
func TestFlame(t *testing.T) {
	stacks := map[string]int64{"main.<leaf> main.main": 100}
	for i := range 5000 {
		stacks[fmt.Sprintf("pkg/f%d pkg/g%d pkg/h%d main.main", i, i%700, i%50)] = 1
	}
	svg := Flame(made(stacks), "a & b")
	if svg != Flame(made(stacks), "a & b") {
		t.Error("two pictures of one profile differ")
	}
	if len(svg) > MostSVG || len(svg) < 1000 {
		t.Errorf("%d bytes", len(svg))
	}
	for _, want := range []string{"a &amp; b", "main.&lt;leaf&gt; 2.0 %", ">h1<"} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestWaits(t *testing.T) {
	var b bytes.Buffer
	if err := trace.Start(&b); err != nil {
		t.Fatalf("somebody else traces: %v", err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(yields)
	}
	wg.Wait()
	trace.Stop()
	got, err := Waits(&b, map[string]string{"yielding": "profile.yields"})
	if err != nil {
		t.Fatal(err)
	}
	if w := got["yielding"]; w == nil || w.Times < 50 || w.P99 < w.P50 || w.Max < w.P99 || w.Running <= 0 {
		t.Errorf("%v", w)
	}
}

//go:noinline
func yields() {
	for range 100 {
		runtime.Gosched()
	}
}
