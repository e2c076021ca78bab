package controller

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// The API wants names in their order, and a typo would declare what nobody tests.
func TestFeaturesHaveNames(t *testing.T) {
	got := SupportedFeatures()
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %v", got)
	}
	for _, name := range got {
		if !features.SetsToNamesSet(features.AllFeatures).Has(features.FeatureName(name)) {
			t.Errorf("Gateway API knows no feature %q", name)
		}
	}
}

// What a profile counts and we declare is what the kept report shows as passed, and the other way round.
func TestFeaturesAreThoseOfTheReport(t *testing.T) {
	b, err := os.ReadFile("../../docs/conformance/report.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Profiles []struct {
			Name           string
			Core, Extended struct {
				Result              string
				SupportedFeatures   []string
				UnsupportedFeatures []string
				SkippedTests        []string
				FailedTests         []string
			}
		}
	}
	if err := yaml.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Profiles) != 2 {
		t.Fatalf("%d profiles in the report, want MESH-HTTP and MESH-GRPC", len(report.Profiles))
	}
	counted := features.SetsToNamesSet(features.MeshExtendedFeatures)
	for _, p := range report.Profiles {
		if p.Core.Result != "success" || len(p.Core.SkippedTests)+len(p.Core.FailedTests) > 0 {
			t.Errorf("%s: core is %q, skipped %v, failed %v", p.Name, p.Core.Result, p.Core.SkippedTests, p.Core.FailedTests)
		}
		if p.Name != "MESH-HTTP" {
			continue // no extended feature has a test of gRPC
		}
		if p.Extended.Result != "success" || len(p.Extended.SkippedTests)+len(p.Extended.FailedTests) > 0 {
			t.Errorf("extended is %q, skipped %v, failed %v", p.Extended.Result, p.Extended.SkippedTests, p.Extended.FailedTests)
		}
		var want []string
		for _, name := range SupportedFeatures() {
			if counted.Has(features.FeatureName(name)) {
				want = append(want, name)
			}
		}
		slices.Sort(p.Extended.SupportedFeatures)
		if d := cmp.Diff(want, p.Extended.SupportedFeatures); d != "" {
			t.Errorf("declared (-) and reported (+) differ; run `make conformance UPDATE=1`:\n%s", d)
		}
	}
}
