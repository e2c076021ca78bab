package conformance

import (
	"flag"
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwconformance "sigs.k8s.io/gateway-api/conformance"
	"sigs.k8s.io/gateway-api/conformance/tests"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

var withWaypoint = flag.Bool("waypoint", true, "make waypoints, and test what GatewayClass weft-waypoint declares; false: a cluster without Weft")

func TestConformance(t *testing.T) {
	if os.Getenv("KUBECONFIG") == "" {
		t.Skip("needs a cluster: `make conformance`, or KUBECONFIG with Weft installed")
	}
	opts := gwconformance.DefaultOptions(t)
	opts.Implementation.Organization = "weftmesh"
	opts.Implementation.Project = "weft"
	opts.Implementation.URL = "https://github.com/weftmesh/weft"
	opts.Implementation.Contact = []string{"https://github.com/weftmesh/weft/issues"}
	opts.ConformanceProfiles = []suite.ConformanceProfileName{suite.MeshHTTPConformanceProfileName, suite.MeshGRPCConformanceProfileName}
	if *withWaypoint {
		if len(opts.SupportedFeatures) == 0 {
			opts.SupportedFeatures = declared(t, opts.Client)
		}
		opts.NamespaceLabels = namespaceLabels
		makeWaypoints(t, opts.Client, opts.CleanupBaseResources)
	}
	ran := map[string]string{}
	opts.Hook = func(t *testing.T, test suite.ConformanceTest, _ *suite.ConformanceTestSuite) {
		ran[test.ShortName] = outcome(t)
	}

	s, err := suite.NewConformanceTestSuite(opts)
	if err != nil {
		t.Fatalf("start the suite: %v", err)
	}
	if opts.RunTest == "" { // one test is no report
		t.Cleanup(func() { writeReport(t, s, opts.ReportOutputPath) }) // after Run's cleanup, before it there is none
	}
	s.Setup(t, tests.ConformanceTests)
	if err := s.Run(t, tests.ConformanceTests); err != nil {
		t.Errorf("run the suite: %v", err)
	}
	if opts.RunTest == "" {
		everyDeclaredTestPassed(t, s.SupportedFeatures, ran)
	}
}

// declared are the features that the GatewayClass says it supports.
func declared(t *testing.T, c client.Client) []features.FeatureName {
	t.Helper()
	var class gatewayv1.GatewayClass
	if err := c.Get(t.Context(), client.ObjectKey{Name: waypointClass}, &class); err != nil {
		t.Fatalf("read GatewayClass %s: %v; is Weft installed?", waypointClass, err)
	}
	var out []features.FeatureName
	for _, f := range class.Status.SupportedFeatures {
		out = append(out, features.FeatureName(f.Name))
	}
	if len(out) == 0 {
		t.Fatalf("GatewayClass %s declares no features in its status", waypointClass)
	}
	return out
}

func outcome(t *testing.T) string {
	switch {
	case t.Failed():
		return "failed"
	case t.Skipped():
		return "skipped"
	}
	return "passed"
}

// everyDeclaredTestPassed reads the suite's own list: a test whose features are all declared has to pass.
func everyDeclaredTestPassed(t *testing.T, supported suite.FeaturesSet, ran map[string]string) {
	t.Helper()
	passed, others := 0, []string{}
	for _, test := range tests.ConformanceTests {
		if !slices.Contains(test.Features, features.SupportMesh) {
			continue
		}
		switch got := ran[test.ShortName]; {
		case got == "passed":
			passed++
		case supported.HasAll(test.Features...):
			t.Errorf("%s: %s, although its features are declared: %v", test.ShortName, got, test.Features)
		default:
			others = append(others, test.ShortName)
		}
	}
	t.Logf("%d tests of meshes passed; not run, as their features are not declared: %v", passed, others)
}

func writeReport(t *testing.T, s *suite.ConformanceTestSuite, path string) {
	t.Helper()
	report, err := s.Report()
	if err != nil {
		t.Errorf("make the report: %v", err)
		return
	}
	b, err := yaml.Marshal(report)
	if err != nil {
		t.Errorf("write the report: %v", err)
		return
	}
	t.Logf("report:\n%s", b)
	if path == "" {
		return
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Errorf("write the report: %v", err)
	}
}
