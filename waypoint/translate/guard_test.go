package translate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// guarded is a waypoint before service a with the named pods, of which each is bound by the policies behind
// its colon.
func guarded(t *testing.T, pods ...string) *translate.Resources {
	t.Helper()
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	svc := &model.Service{Name: "a", Namespace: "shop", Hostname: "a", Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}},
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Waypoint: &model.Gateway{Hostname: "wp"}}
	s.Services[svc.Key()] = svc
	for _, pod := range pods {
		name, policies, _ := strings.Cut(pod, ":")
		s.Workloads.Set(name, &model.Workload{UID: name, Name: name, Namespace: "shop", TrustDomain: "cluster.local", ServiceAccount: "a", Protocol: model.HBONE,
			Addresses: []netip.Addr{netip.MustParseAddr("10.1.0." + name)}, Services: map[string][]model.Port{svc.Key(): svc.Ports}})
		for _, p := range strings.Fields(policies) {
			key := "shop/" + p + "@workloads"
			s.L7Policies[key] = &model.L7Policy{Namespace: "shop", Name: p, Action: model.Deny, Workloads: true, Rules: []model.L7Rule{{To: []model.L7Operation{{Methods: []model.StringMatch{{Value: p}}}}}}}
			s.Bindings.Set(name, append(s.Bindings.Get(name), key))
		}
	}
	res, problems := translate.Translate(s, "shop/wp", translate.Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return res
}

// guardStory tells a stage in a line: endpoints | policies.
func guardStory(r *translate.Resources) string {
	var pods, policies []string
	for _, a := range r.Endpoints {
		for _, l := range a.Endpoints {
			for _, e := range l.LbEndpoints {
				at := e.GetEndpoint().GetAddress().GetEnvoyInternalAddress().GetEndpointId()
				pods = append(pods, strings.TrimSuffix(strings.TrimPrefix(at, "10.1.0."), ":80"))
			}
		}
	}
	for _, rc := range r.Routes {
		for _, vh := range rc.VirtualHosts {
			text := string(vh.TypedPerFilterConfig["rbac.deny"].GetValue())
			for _, p := range []string{"x", "y"} {
				if strings.Contains(text, "shop/"+p+"[0]") {
					policies = append(policies, p)
				}
			}
		}
	}
	return strings.Join(pods, " ") + " | " + strings.Join(policies, " ")
}

// A pod with policies of its own is never served without them, whichever of the two Envoy takes first.
func TestPoliciesComeBeforeTheirPods(t *testing.T) {
	for _, tc := range []struct {
		name       string
		prev, next *translate.Resources
		want       []string
	}{
		{"a pod with a policy comes", guarded(t, "1"), guarded(t, "1", "2:x"), []string{"1 | ", "1 | x", "1 2 | x"}},
		{"a pod with a policy goes", guarded(t, "1", "2:x"), guarded(t, "1"), []string{"1 | x", "1 | ", "1 | "}},
		{"one for another", guarded(t, "1", "2:x"), guarded(t, "1", "3:y"), []string{"1 | x", "1 | y", "1 3 | y"}},
		{"all others", guarded(t, "1:x"), guarded(t, "2:y"), []string{" | x", " | y", "2 | y"}},
		{"the same policies", guarded(t, "1:x"), guarded(t, "1:x", "2:x"), []string{"1 2 | x"}},
		{"only a policy", guarded(t, "1"), guarded(t, "1:x"), []string{"1 | x"}},
	} {
		var got []string
		for _, r := range tc.next.Stages(tc.prev) {
			got = append(got, guardStory(r))
			validate(t, r)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
}
