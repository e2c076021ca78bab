package isolate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// fakeEnvoy refuses a route configuration that contains a bad word, and otherwise keeps what it got: it
// has the isolator's view of Envoy, and none of Envoy.
type fakeEnvoy struct {
	t       *testing.T
	iso     *Isolator
	bad     []string
	quotes  bool   // its refusals name the bad word
	off     bool   // not connected
	trial   string // how what a patch has changed is refused before Envoy sees it
	offered *cache.Snapshot
	running *cache.Snapshot
	timer   func()
	rounds  int
}

func newFake(t *testing.T, quotes bool, bad ...string) *fakeEnvoy {
	t.Helper()
	f := &fakeEnvoy{t: t, bad: bad, quotes: quotes}
	iso, err := New(Options{
		Waypoint: "shop/wp",
		Publish:  func(s *cache.Snapshot) error { f.offered = s; f.rounds++; return nil },
		AfterFunc: func(_ time.Duration, g func()) func() bool {
			f.timer = g
			return func() bool { f.timer = nil; return true }
		},
		Connected: func() bool { return !f.off },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.iso = iso
	return f
}

// text is all that a snapshot says in routes.
func text(s *cache.Snapshot) string {
	var b strings.Builder
	for _, r := range s.GetResources(resource.RouteType) {
		b.WriteString(r.(*routev3.RouteConfiguration).String())
	}
	return b.String()
}

// run answers publications until there is silence.
func (f *fakeEnvoy) run() {
	f.t.Helper()
	for range 500 {
		if f.off {
			return
		}
		if offered := f.offered; offered != nil {
			f.offered = nil
			if word := f.finds(offered); word != "" {
				detail := "regex refused"
				switch {
				case word == translate.PatchMark:
					detail = f.trial
				case f.quotes:
					detail += ": " + word
				}
				if err := f.iso.Nack(resource.RouteType, offered.GetVersion(resource.RouteType), detail); err != nil {
					f.t.Fatal(err)
				}
				continue
			}
			f.running = offered
		}
		if f.timer == nil {
			return
		}
		g := f.timer
		f.timer = nil
		g()
	}
	f.t.Fatal("does not come to rest")
}

func (f *fakeEnvoy) finds(s *cache.Snapshot) string {
	all := text(s)
	if f.trial != "" && strings.Contains(all, translate.PatchMark) {
		return translate.PatchMark
	}
	for _, w := range f.bad {
		if strings.Contains(all, w) {
			return w
		}
	}
	return ""
}

func (f *fakeEnvoy) set(s *model.Snapshot) {
	f.t.Helper()
	if err := f.iso.Set(s); err != nil {
		f.t.Fatal(err)
	}
	f.run()
}

// world has n services, each with one route whose path is words[i], and a policy.
func world(words ...string) *model.Snapshot {
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	for i, w := range words {
		name := fmt.Sprintf("svc-%03d", i)
		svc := &model.Service{
			Name: name, Namespace: "shop", Hostname: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i / 250), byte(i%250 + 1)})},
			Waypoint: &model.Gateway{Hostname: "wp"}, Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}},
		}
		s.Services[svc.Key()] = svc
		r := &model.Route{Namespace: "shop", Name: fmt.Sprintf("route-%03d", i), Kind: "HTTPRoute", Service: svc.Key(), Rules: []model.RouteRule{{
			Matches: []model.RouteMatch{{PathKind: model.PathRegex, Path: w}}, Backends: []model.Backend{{Service: svc.Key(), Port: 80, Weight: 1}},
		}}}
		s.Routes[r.Key()] = r
		p := &model.L7Policy{Namespace: "shop", Name: fmt.Sprintf("policy-%03d", i), Action: model.Deny, Service: svc.Key(), Rules: []model.L7Rule{{To: []model.L7Operation{{Methods: []model.StringMatch{{Value: "TRACE"}}}}}}}
		s.L7Policies[p.Key()] = p
	}
	return s
}

func words(n int, at map[int]string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("/fine-%03d", i)
		if w, ok := at[i]; ok {
			out[i] = w
		}
	}
	return out
}

// checkRunning wants every word in force but the bad ones, and a problem for each bad one alone.
func (f *fakeEnvoy) check(all []string, culprits ...int) {
	f.t.Helper()
	got := text(f.running)
	for i, w := range all {
		if bad := slices.Contains(culprits, i); strings.Contains(got, w) == bad {
			f.t.Errorf("word %d %q in force: %v", i, w, !bad)
		}
	}
	var named []string
	for _, p := range f.iso.Problems() {
		named = append(named, p.Source.Name)
	}
	slices.Sort(named)
	var want []string
	for _, c := range culprits {
		want = append(want, fmt.Sprintf("route-%03d", c))
	}
	slices.Sort(want)
	if !slices.Equal(named, want) {
		f.t.Errorf("problems name %v, want %v\n%v", named, want, f.iso.Problems())
	}
}

func TestFindsOneAmongMany(t *testing.T) {
	for _, quotes := range []bool{true, false} {
		f := newFake(t, quotes, "/bad-word")
		all := words(200, map[int]string{77: "/bad-word"})
		f.set(world(all...))
		f.check(all, 77)
		t.Logf("quotes %v: %d publications", quotes, f.rounds)
		if f.rounds > 30 {
			t.Errorf("%d publications for one of 400 objects", f.rounds)
		}
		// It fails closed: the service answers 500 rather than falling back to no route.
		if !strings.Contains(text(f.running), "refused by the waypoint") {
			t.Error("no stand-in for the refused route")
		}
	}
}

func TestFindsSeveral(t *testing.T) {
	for _, quotes := range []bool{true, false} {
		f := newFake(t, quotes, "/bad-one", "/bad-two", "/bad-three")
		all := words(60, map[int]string{3: "/bad-one", 4: "/bad-two", 59: "/bad-three"})
		f.set(world(all...))
		f.check(all, 3, 4, 59)
	}
}

func TestEditKeepsLastGood(t *testing.T) {
	f := newFake(t, false, "/bad-word")
	good := words(20, nil)
	f.set(world(good...))
	f.check(good)
	before := f.rounds
	bad := words(20, map[int]string{5: "/bad-word", 6: "/newer-006"})
	f.set(world(bad...))
	if got := text(f.running); !strings.Contains(got, "/fine-005") || !strings.Contains(got, "/newer-006") || strings.Contains(got, "/bad-word") {
		t.Error("want route 5 as it was and route 6 as it is")
	}
	if p := f.iso.Problems(); len(p) != 1 || p[0].Source.Name != "route-005" || !strings.Contains(p[0].Message, "last good") {
		t.Errorf("problems %v", p)
	}
	if n := f.rounds - before; n > 6 {
		t.Errorf("%d publications for one of two changes", n)
	}
	// The same again is not tried again; other changes go through at once.
	before = f.rounds
	more := words(21, map[int]string{5: "/bad-word", 6: "/newest-006"})
	f.set(world(more...))
	if got := text(f.running); f.rounds != before+2 || !strings.Contains(got, "/newest-006") || !strings.Contains(got, "/fine-020") || !strings.Contains(got, "/fine-005") {
		t.Errorf("%d publications", f.rounds-before)
	}
	// Mended, it is in force.
	mended := words(21, map[int]string{5: "/mended-005"})
	f.set(world(mended...))
	f.check(mended)
}

func TestDeletedCulpritIsForgotten(t *testing.T) {
	f := newFake(t, true, "/bad-word")
	f.set(world("/fine-000", "/bad-word"))
	f.set(world("/fine-000"))
	if p := f.iso.Problems(); len(p) != 0 {
		t.Errorf("problems %v", p)
	}
}

func TestChangesDuringSearchWait(t *testing.T) {
	f := newFake(t, false, "/bad-word")
	if err := f.iso.Set(world(words(30, map[int]string{9: "/bad-word"})...)); err != nil {
		t.Fatal(err)
	}
	if err := f.iso.Nack(resource.RouteType, f.offered.GetVersion(resource.RouteType), "refused"); err != nil {
		t.Fatal(err)
	}
	last := words(30, map[int]string{9: "/bad-word", 10: "/late-010"})
	if err := f.iso.Set(world(last...)); err != nil {
		t.Fatal(err)
	}
	f.run()
	f.check(last, 9)
}

// Silence is no acceptance while nobody listens: the first Envoy that connects finds the culprit.
func TestNobodyConnected(t *testing.T) {
	f := newFake(t, false, "/bad-word")
	f.off = true
	all := words(10, map[int]string{2: "/bad-word"})
	f.set(world(all...))
	for range 5 {
		f.timer()
	}
	f.off = false
	f.run()
	f.check(all, 2)
}

// A refusal that comes after the silence was taken for acceptance is still understood.
func TestLateRefusal(t *testing.T) {
	f := newFake(t, false)
	f.set(world(words(10, nil)...))
	bad := words(10, map[int]string{4: "/bad-word"})
	f.set(world(bad...))
	f.bad = []string{"/bad-word"}
	if err := f.iso.Nack(resource.RouteType, f.running.GetVersion(resource.RouteType), "slow"); err != nil {
		t.Fatal(err)
	}
	f.run()
	if got := text(f.running); strings.Contains(got, "/bad-word") || !strings.Contains(got, "/fine-004") {
		t.Error("route 4 is not back at its good version")
	}
	if f.iso.settle != time.Second {
		t.Errorf("settle time %v, want it doubled", f.iso.settle)
	}
}

// What no object is to blame for is said, and does not end in a circle.
func TestNobodysFault(t *testing.T) {
	f := newFake(t, false, "hbone")
	f.set(world(words(5, nil)...))
	p := f.iso.Problems()
	if len(p) != 1 || p[0].Source != (translate.Source{}) || !strings.Contains(p[0].Message, "no object is to blame") {
		t.Fatalf("problems %v", p)
	}
	f.bad = nil
	next := words(6, nil)
	f.set(world(next...))
	f.check(next)
}

// After a refusal every resource of the type gets a new version, so that none is lost with the response.
func TestRefusedTypeIsSentAgain(t *testing.T) {
	f := newFake(t, true, "/bad-word")
	f.set(world("/fine-000"))
	before := f.running.GetVersionMap(resource.RouteType)["shop/svc-000:80"]
	clusters := f.running.GetVersionMap(resource.ClusterType)["shop/svc-000:80"]
	f.set(world("/fine-000", "/bad-word"))
	if after := f.running.GetVersionMap(resource.RouteType)["shop/svc-000:80"]; after == before {
		t.Error("an unchanged route configuration kept its version over a refusal")
	}
	if after := f.running.GetVersionMap(resource.ClusterType)["shop/svc-000:80"]; clusters != "" && after != clusters {
		t.Error("a cluster was sent again for a refusal of routes")
	}
}

// Random culprits, edits and refusals always end with exactly the culprits held.
func TestRandomStories(t *testing.T) {
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		f := newFake(t, rnd.IntN(2) == 0, "/bad-")
		var all []string
		for step := range 6 {
			n := 1 + rnd.IntN(25)
			at := map[int]string{}
			var culprits []int
			for i := range n {
				switch rnd.IntN(8) {
				case 0:
					at[i] = fmt.Sprintf("/bad-%d-%d", step, i)
					culprits = append(culprits, i)
				case 1:
					at[i] = fmt.Sprintf("/edit-%d-%d", step, i)
				}
			}
			all = words(n, at)
			f.set(world(all...))
			got := text(f.running)
			for i, w := range all {
				if bad := slices.Contains(culprits, i); strings.Contains(got, w) == bad {
					t.Fatalf("seed %d step %d: word %q in force: %v", seed, step, w, !bad)
				}
			}
			if p := f.iso.Problems(); len(p) != len(culprits) {
				t.Fatalf("seed %d step %d: %d problems for %d culprits: %v", seed, step, len(p), len(culprits), p)
			}
		}
	}
}

// A new service's address opens only after everything behind it was sent.
func TestNewTargetsOpenLast(t *testing.T) {
	f := newFake(t, true)
	f.set(world("/fine-000"))
	if err := f.iso.Set(world("/fine-000", "/fine-001")); err != nil {
		t.Fatal(err)
	}
	row := `domains:"10.96.0.2:80"`
	if got := text(f.offered); !strings.Contains(got, "/fine-001") || strings.Contains(got, row) {
		t.Error("want the new routes without their row in the table")
	}
	first := f.offered
	f.timer()
	if got := text(f.offered); !strings.Contains(got, row) {
		t.Error("the row does not follow")
	}
	// A refusal of the first of the two sendings counts, though it comes after the second.
	rounds := f.rounds
	if err := f.iso.Nack(resource.RouteType, first.GetVersion(resource.RouteType), "refused"); err != nil {
		t.Fatal(err)
	}
	if f.rounds == rounds {
		t.Error("the refusal was passed over")
	}
}
