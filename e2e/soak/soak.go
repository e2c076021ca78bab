package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

// soak is one run.
type soak struct {
	o         options
	lab       lab.Layout
	manifests string    // the folder that the lab watches
	began     time.Time // when calls began; samples count from here
	finds     *findings

	calls   tallies
	samples samples
	wire    wire
	logs    logs
	life    life
	certs   certificates
}

// work makes calls for the whole length, with life around them, and looks at everything meanwhile.
func (s *soak) work(ctx context.Context) {
	s.began = time.Now()
	s.say("everything is in force; calling for %s", s.o.length)
	working, end := context.WithTimeout(ctx, s.o.length)
	defer end()
	var wg sync.WaitGroup
	for role, pod := range callers {
		wg.Go(func() { s.keepCalling(working, role, pod) })
	}
	wg.Go(func() { s.watchWire(working) })
	wg.Go(func() { s.live(working) })
	wg.Go(func() { s.watch(working) })
	wg.Wait()
	if ctx.Err() == nil {
		s.readLogs() // what was written since the last look
	}
}

// watch looks at programs and logs every sample interval, and says each minute how it goes.
func (s *soak) watch(ctx context.Context) {
	tick := time.NewTicker(s.o.sample)
	defer tick.Stop()
	said := s.began
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.takeSamples()
		s.readLogs()
		s.readCertificates()
		if time.Since(said) >= time.Minute-s.o.sample/2 {
			said = time.Now()
			good, failed := s.calls.total()
			s.say("%3.0f s: %d calls as they should be, %d not, %d frames on the link, %d problems",
				time.Since(s.began).Seconds(), good, failed, s.wire.frames(), s.finds.count())
		}
	}
}

// findings are what makes a soak fail.
type findings struct {
	mu  sync.Mutex // protects all
	all []string
}

// add notes a problem once, and says it at once: an unattended run may be read before its end.
func (f *findings) add(format string, a ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := fmt.Sprintf(format, a...)
	if slices.Contains(f.all, text) {
		return
	}
	f.all = append(f.all, text)
	fmt.Printf("%s  PROBLEM: %s\n", time.Now().UTC().Format("15:04:05"), text)
}

func (f *findings) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}

func (f *findings) list() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}
