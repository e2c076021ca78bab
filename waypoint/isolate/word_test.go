package isolate

import (
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

func patched(s *model.Snapshot, header string) *model.Snapshot {
	a := &model.Attachment{Kind: translate.KindPatch, Namespace: "shop", Name: "patch", Target: model.Target{Waypoint: "shop/wp"}, Patch: &model.EnvoyPatch{
		Patches: []model.ResourcePatch{{Type: "RouteConfiguration", Operations: `[{"op": "add", "path": "/response_headers_to_add", "value": [{"header": {"key": "x", "value": "` + header + `"}}]}]`}},
	}}
	s.Attachments = map[string]*model.Attachment{a.Key(): a}
	return s
}

// A patch counts as in force when an Envoy has accepted it as it is, not before.
func TestPatchesWaitForEnvoy(t *testing.T) {
	f := newFake(t, true, "bad-word")
	said := func(when, want string) {
		t.Helper()
		p := f.iso.Problems()
		switch {
		case want == "" && len(p) == 0:
		case want != "" && len(p) == 1 && p[0].Source.Name == "patch" && strings.Contains(p[0].Message, want) && p[0].Waiting == strings.HasPrefix(want, "not in force"):
		default:
			t.Errorf("%s: %v, want %q", when, p, want)
		}
	}
	set := func(s *model.Snapshot) {
		t.Helper()
		if err := f.iso.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	f.off = true
	set(patched(world("/a"), "one"))
	said("without a pod", "not in force: the waypoint has no pod")
	s := patched(world("/a"), "one")
	s.Workloads.Set("wp-0", &model.Workload{UID: "wp-0", Services: map[string][]model.Port{"shop/wp": {{ServicePort: 15008}}}})
	set(s)
	said("with a pod that is another replica's", "not in force yet")
	f.off = false
	set(patched(world("/a"), "one"))
	said("sent", "not in force yet")
	f.run()
	said("accepted", "")
	set(patched(world("/a", "/b"), "one"))
	said("beside another change", "")
	f.run()
	set(patched(world("/a", "/b"), "two"))
	said("changed", "not in force yet")
	f.run()
	said("accepted again", "")
	f.set(patched(world("/a", "/b"), "bad-word"))
	said("refused", "the last good version stays in force")
}

// A trial that comes to no verdict is held against patches alone: every route stays in force. What Envoy itself refuses
// then is found among the rest.
func TestTrialsBlamePatchesAlone(t *testing.T) {
	f := newFake(t, false, "/bad-word")
	all := words(8, nil)
	f.set(patched(world(all...), "one"))
	f.check(all)
	f.trial = (&trial.Refusal{Outcome: trial.Hung, Words: "no verdict within 6s"}).Error()
	names := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range f.iso.Problems() {
			got = append(got, p.Source.Name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("problems name %v, want %v", got, want)
		}
	}
	for i, w := range []string{"/newer-word", "/bad-word"} {
		all[3] = w
		f.set(patched(world(all...), "one"))
		running := text(f.running)
		if i == 0 {
			names("patch")
		} else {
			names("patch", "route-003")
			all[3] = "/newer-word" // the last good one
		}
		for _, w := range all {
			if !strings.Contains(running, w) {
				t.Errorf("%s is not in force", w)
			}
		}
	}
	f.trial, all[3] = "", "/newest-word"
	f.set(patched(world(all...), "two"))
	f.check(all)
}

// Versions name contents: two replicas that read the same agree, whatever was made when, and each change tells.
func TestVersions(t *testing.T) {
	one, two := patched(world("/a", "/b"), "one"), patched(world("/a", "/b"), "one")
	for src := range objectsOf(one) {
		if v := Version(one, src); v == "" || v != Version(two, src) {
			t.Errorf("%s: version %q and %q", src, v, Version(two, src))
		}
	}
	changed := patched(world("/a", "/c"), "two")
	for name, same := range map[string]bool{"HTTPRoute/shop/route-000": true, "HTTPRoute/shop/route-001": false, "EnvoyPatch/shop/patch": false, "Service/shop/svc-001": true} {
		parts := strings.Split(name, "/")
		src := translate.Source{Kind: parts[0], Namespace: parts[1], Name: parts[2]}
		if (Version(one, src) == Version(changed, src)) != same {
			t.Errorf("%s: version %q, then %q", src, Version(one, src), Version(changed, src))
		}
	}
	if v := Version(one, translate.Source{Kind: "HTTPRoute", Namespace: "shop", Name: "none"}); v != "" {
		t.Errorf("what is not there has version %q", v)
	}
}

// A patch is at a waypoint by its own name, or by that of a service behind it.
func TestPatchesOfAWaypoint(t *testing.T) {
	s := patched(world("/a"), "one")
	for key := range s.Services {
		a := &model.Attachment{Kind: translate.KindPatch, Namespace: "shop", Name: "of-service", Target: model.Target{Service: key}, Patch: &model.EnvoyPatch{}}
		s.Attachments[a.Key()] = a
	}
	s.Waypoints["shop/other"] = &model.Waypoint{Namespace: "shop", Name: "other", Hostname: "other"}
	if got := Patches(s, "shop/wp"); len(got) != 2 {
		t.Errorf("at the waypoint are %v", got)
	}
	if got := Patches(s, "shop/other"); len(got) != 0 {
		t.Errorf("at another are %v", got)
	}
	if got := Patches(s, "shop/none"); len(got) != 0 {
		t.Errorf("at none are %v", got)
	}
}
