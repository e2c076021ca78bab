package isolate

import (
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// answering is an isolator whose Envoy answers when the test says so.
func answering(t *testing.T) (f *fakeEnvoy, answered *bool) {
	t.Helper()
	f, answered = &fakeEnvoy{t: t}, new(bool)
	iso, err := New(Options{
		Waypoint: "shop/wp",
		Publish:  func(s *cache.Snapshot) error { f.offered = s; f.rounds++; *answered = false; return nil },
		Current:  func() bool { return *answered },
		AfterFunc: func(_ time.Duration, g func()) func() bool {
			f.timer = g
			return func() bool { f.timer = nil; return true }
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.iso = iso
	return f, answered
}

func (f *fakeEnvoy) tick() {
	f.t.Helper()
	g := f.timer
	if g == nil {
		f.t.Fatal("nothing is waited for")
	}
	f.timer = nil
	g()
}

// An Envoy that is slow to answer has not accepted; its refusal finds nothing taken for good.
func TestSilenceBeforeTheAnswerIsNoAcceptance(t *testing.T) {
	f, answered := answering(t)
	if err := f.iso.Set(world("/fine-000", "/bad-word")); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		f.tick()
	}
	if f.iso.m.phase != settling {
		t.Fatalf("phase %d after 2 s of silence, want that it still settles", f.iso.m.phase)
	}
	*answered = true
	f.tick()
	if f.iso.m.phase != settling {
		t.Fatal("accepted before a refusal could be heard")
	}
	if err := f.iso.Nack(resource.RouteType, f.offered.GetVersion(resource.RouteType), "regex refused: /bad-word"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // held, and accepted by its answer
		*answered = true
		f.tick()
	}
	if f.iso.m.phase != idle || strings.Contains(text(f.offered), "/bad-word") || !strings.Contains(text(f.offered), "/fine-000") {
		t.Errorf("phase %d, running %s", f.iso.m.phase, text(f.offered))
	}
}

// The next step of a publication follows the answer to the one before, and an Envoy that never answers does
// not stop the others for ever.
func TestStagesFollowAnswers(t *testing.T) {
	f, answered := answering(t)
	steps := func(s string) {
		t.Helper()
		if err := f.iso.Set(world(s, "/fine-001")); err != nil {
			t.Fatal(err)
		}
	}
	steps("/fine-000")
	*answered = true
	f.tick()
	f.tick()
	if err := f.iso.Set(world("/fine-000", "/fine-001", "/fine-002")); err != nil { // a new service: more than one stage
		t.Fatal(err)
	}
	sent := f.rounds
	for range 10 {
		f.tick()
	}
	if f.rounds != sent || f.iso.Sent() {
		t.Fatalf("%d stages without an answer, want 1", 1+f.rounds-sent)
	}
	*answered = true
	f.tick()
	if f.rounds != sent+1 || !f.iso.Sent() {
		t.Fatalf("%d stages after the answer, want 2", 1+f.rounds-sent)
	}
	steps("/fine-000") // back to two services: again more than one stage
	for range 1000 {
		if f.iso.Sent() {
			return
		}
		f.tick()
	}
	t.Error("an Envoy that never answers is waited for without end")
}
