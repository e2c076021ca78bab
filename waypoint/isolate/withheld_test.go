package isolate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// launched is an Envoy behind a launcher that says something of whatever contains a word.
type launched struct {
	t       *testing.T
	iso     *Isolator
	word    string
	says    func() string // "" lets it pass
	offered *cache.Snapshot
	seen    []*cache.Snapshot // that passed whole
	sent    int
	short   []func()        // timers of publications
	long    []time.Duration // of retries
	retry   func()
}

func newLaunched(t *testing.T, word string, says func() string) *launched {
	t.Helper()
	l := &launched{t: t, word: word, says: says}
	iso, err := New(Options{
		Waypoint: "shop/wp",
		Publish:  func(s *cache.Snapshot) error { l.offered = s; l.sent++; return nil },
		AfterFunc: func(d time.Duration, f func()) func() bool {
			if d >= minRetry {
				l.long, l.retry = append(l.long, d), f
				return func() bool { l.retry = nil; return true }
			}
			l.short = []func(){f} // each publication stops the timer of the last
			return func() bool { l.short = nil; return true }
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.iso = iso
	return l
}

// run answers publications until there is silence.
func (l *launched) run() {
	l.t.Helper()
	for range 500 {
		if s := l.offered; s != nil {
			l.offered = nil
			if detail := l.says(); detail != "" && strings.Contains(text(s), l.word) {
				if err := l.iso.Nack(resource.RouteType, s.GetVersion(resource.RouteType), detail); err != nil {
					l.t.Fatal(err)
				}
				continue
			}
			l.seen = append(l.seen, s)
		}
		if len(l.short) == 0 {
			return
		}
		f := l.short[0]
		l.short = nil
		f()
	}
	l.t.Fatal("does not come to rest")
}

func (l *launched) set(s *model.Snapshot) {
	l.t.Helper()
	if err := l.iso.Set(s); err != nil {
		l.t.Fatal(err)
	}
	l.run()
}

func (l *launched) again() {
	l.t.Helper()
	if l.retry == nil {
		l.t.Fatal("nothing is to be sent again")
	}
	f := l.retry
	l.retry = nil
	f()
	l.run()
}

func (l *launched) running() string { return text(l.seen[len(l.seen)-1]) }

// checkRunning wants these words in force, and the patch's only problem to be this.
func (l *launched) check(problem string, waiting bool, words ...string) {
	l.t.Helper()
	for _, w := range words {
		if !strings.Contains(l.running(), w) {
			l.t.Errorf("%s is not in force", w)
		}
	}
	p := l.iso.Problems()
	if problem == "" && len(p) == 0 {
		return
	}
	if len(p) != 1 || !strings.Contains(p[0].Message, problem) || p[0].Waiting != waiting {
		l.t.Errorf("problems %v, want one with %q, waiting %v", p, problem, waiting)
	}
}

// While a patch's trial goes on its last good version is in force, and everybody else's changes go on. Then it is sent
// again, and in force or refused by what the launcher says by then.
func TestNeighboursDoNotWaitForTrials(t *testing.T) {
	pending := trial.Withheld{Sources: []translate.Source{{Kind: translate.KindPatch, Namespace: "shop", Name: "patch"}}, Pending: true}.String()
	for _, verdict := range []string{"", (&trial.Refusal{Outcome: trial.Hung, Words: "no verdict within 6s"}).Error()} {
		says := ""
		l := newLaunched(t, "slow-word", func() string { return says })
		l.set(patched(world("/a", "/b"), "good-word"))
		l.check("", false, "/a", "/b", "good-word")
		says = pending
		l.set(patched(world("/a", "/b2"), "slow-word"))
		l.check("the waypoint tries it", true, "/a", "/b2", "good-word")
		l.set(patched(world("/a", "/b3", "/c"), "slow-word"))
		l.check("the waypoint tries it", true, "/a", "/b3", "/c", "good-word")
		l.again()
		l.check("the waypoint tries it", true, "/a", "/b3", "/c", "good-word")
		if want := []time.Duration{minRetry, 2 * minRetry}; !slices.Equal(l.long, want) {
			t.Errorf("waits %v, want %v", l.long, want)
		}
		says = verdict
		l.again()
		if verdict == "" {
			l.check("", false, "/a", "/b3", "/c", "slow-word")
		} else {
			l.check("no verdict within 6s", false, "/a", "/b3", "/c", "good-word")
		}
		if l.retry != nil {
			t.Error("it is sent again without end")
		}
		says = pending // a new one waits from the beginning again
		l.set(patched(world("/a"), "other slow-word"))
		if got := l.long[len(l.long)-1]; got != minRetry {
			t.Errorf("waits %v, want %v", got, minRetry)
		}
	}
}

// What is tried may be something else of the patch's target: the patch stays, and all is sent again.
func TestPendingTargetOfAGoodPatch(t *testing.T) {
	says := ""
	l := newLaunched(t, "/slow-word", func() string { return says })
	l.set(patched(world("/a", "/b"), "good-word"))
	says = trial.Withheld{Sources: []translate.Source{{Kind: translate.KindPatch, Namespace: "shop", Name: "patch"}}, Pending: true}.String()
	l.set(patched(world("/a", "/slow-word"), "good-word"))
	sent := l.sent
	says = ""
	l.again()
	l.check("", false, "/a", "/slow-word", "good-word")
	if l.sent == sent {
		t.Error("nothing is sent again")
	}
}

// A module that looped is out of force at once, whatever was accepted and however long ago, until it changes; its
// neighbours are not.
func TestLoopedModule(t *testing.T) {
	says := ""
	l := newLaunched(t, "looping-code", func() string { return says })
	with := func(code string, words ...string) *model.Snapshot {
		s := world(words...)
		for _, name := range []string{"loop", "other"} {
			a := &model.Attachment{Kind: "Extension", Namespace: "shop", Name: name, Target: model.Target{Service: "shop/svc-000"}, Extension: &model.Extension{Lua: "-- fine-code"}}
			if name == "loop" {
				a.Extension.Lua = "-- " + code
			}
			s.Attachments[a.Key()] = a
		}
		return s
	}
	l.set(with("older-code", "/a", "/b"))
	l.set(with("looping-code", "/a", "/b"))
	l.set(with("looping-code", "/a", "/b2"))
	l.check("", false, "/a", "/b2", "looping-code")
	says = trial.Withheld{Sources: []translate.Source{{Kind: "Extension", Namespace: "shop", Name: "loop"}}}.String()
	last := l.seen[len(l.seen)-1]
	refuse := func(version string) {
		t.Helper()
		if err := l.iso.Nack(resource.RouteType, version, says); err != nil {
			t.Fatal(err)
		}
		l.run()
	}
	out := func(words ...string) {
		t.Helper()
		l.check("Envoy's watchdog ended the proxy while it ran", false, words...)
		for _, bad := range []string{"looping-code", "older-code"} {
			if strings.Contains(l.running(), bad) {
				t.Errorf("%s is in force", bad)
			}
		}
	}
	refuse(last.GetVersion(resource.RouteType))
	out("/a", "/b2", "fine-code", "extension shop/loop is refused by the waypoint")
	sent := l.sent
	refuse(last.GetVersion(resource.RouteType)) // another pod's word
	if l.sent != sent || l.retry != nil {
		t.Error("what is held already is held again")
	}
	if l.iso.settle != l.iso.o.Settle {
		t.Errorf("waits %v for refusals after it, want %v", l.iso.settle, l.iso.o.Settle)
	}
	l.set(with("looping-code", "/a", "/b3"))
	out("/a", "/b3", "fine-code")
	l.set(with("mended-code", "/a", "/b3"))
	l.check("", false, "/a", "/b3", "fine-code", "mended-code")
}
