package checks

import (
	"testing"

	"github.com/weftmesh/weft/pkg/api"
)

func TestLabelsThatWereMeantForWeft(t *testing.T) {
	tests := []struct {
		key, value string
		istio      bool
		should     string // what the label ought to be; empty: it is nobody's mistake
	}{
		{"weft.dev/dataplane-mode", "ambient", false, ""},
		{"weft.dev/dataplane-mode", "none", false, ""},
		{"weft.dev/dataplane-mode", "Ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"weft.dev/dataplane-mode", "ambiant", false, "weft.dev/dataplane-mode=ambient"},
		{"weft.dev/dataplane-mode", "off", false, "weft.dev/dataplane-mode=none"},
		{"weft.dev/dataplane_mode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"weft.dev/dataplanemode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"weft.io/dataplane-mode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"weftmesh.dev/dataplane-mode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"dataplane-mode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"istio.io/dataplane-mode", "ambient", false, "weft.dev/dataplane-mode=ambient"},
		{"istio.io/dataplane-mode", "ambient", true, ""},
		{"istio.io/rev", "stable", false, ""},
		{"weft.dev/usewaypoint", "gate", false, "weft.dev/use-waypoint=gate"},
		{"weft.dev/use-waypoint", "gate", false, ""},
		{"weft.dev/waypoint-for", "services", false, "weft.dev/waypoint-for=service"},
		{"app", "shop", false, ""},
		{"mode", "ambient", false, ""},
		{"kubernetes.io/metadata.name", "shop", false, ""},
		{api.AnnotationRedirection, "enabled", false, ""},
		{"", "", false, ""},
	}
	for _, tc := range tests {
		got := mislabelled(map[string]string{tc.key: tc.value}, tc.istio)
		switch {
		case tc.should == "" && len(got) > 0:
			t.Errorf("%s=%s: complains: %+v", tc.key, tc.value, got)
		case tc.should != "" && (len(got) != 1 || got[0].should != tc.should):
			t.Errorf("%s=%s: %+v, want %s", tc.key, tc.value, got, tc.should)
		}
	}
}

// The hint is a command that mends the label.
func TestFixOfALabel(t *testing.T) {
	f := &Facts{}
	f.Namespaces = append(f.Namespaces, namespace("shop", "weft.dev/dataplane_mode", "ambient"), namespace("store", "weft.dev/dataplane-mode", "Ambient"))
	want := []string{
		"kubectl label namespace shop weft.dev/dataplane-mode=ambient weft.dev/dataplane_mode-",
		"kubectl label namespace store --overwrite weft.dev/dataplane-mode=ambient",
	}
	got := labels(f)
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, r := range got {
		if r.Hint != want[i] {
			t.Errorf("%q, want %q", r.Hint, want[i])
		}
	}
}

func TestPodsShareAMistake(t *testing.T) {
	f := &Facts{}
	for _, name := range []string{"a", "b"} {
		p := pod("shop", name, nil)
		p.Labels["weft.dev/dataplane-mode"] = "yes"
		f.Pods = append(f.Pods, p)
	}
	if got := labels(f); len(got) != 1 || got[0].Detail != "pods of namespace shop: weft.dev/dataplane-mode=yes is no value that there is (a, b)" {
		t.Errorf("%+v", got)
	}
}
