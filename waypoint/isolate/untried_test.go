package isolate

import (
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
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
	said("with a pod that is another replica's", "")
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
