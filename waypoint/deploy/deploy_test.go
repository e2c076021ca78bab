package deploy

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestRenderGolden(t *testing.T) {
	for name, o := range map[string]Options{
		"cluster": {Image: "ghcr.io/weftmesh/weft-waypoint:v1"},
		"scaled":  {Parameters: parameters(t, "testdata/scaled.parameters.yaml")},
		"lab":     {Command: "/bin/weft-waypoint", Controller: "172.30.255.1:15012", TokenFile: "/t/token", RootFile: "/t/root.pem", RunDir: "/run/wp", Replicas: 2, Args: []string{"--concurrency=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := os.ReadFile("testdata/gateway.yaml")
			if err != nil {
				t.Fatal(err)
			}
			gw := &gatewayv1.Gateway{}
			if err := yaml.UnmarshalStrict(in, gw); err != nil {
				t.Fatal(err)
			}
			got, err := Render(gw, o).YAML()
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/" + name + ".golden.yaml"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}

func parameters(t *testing.T, file string) *Parameters {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParseParameters(map[string]string{ParametersKey: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestBadParameters(t *testing.T) {
	for text, says := range map[string]string{
		"replica: 2":    `unknown field "replica"`,
		"replicas: two": "replicas",
		"replicas: -1":  "less than none",
		"{replicas: 2, autoscaling: {maxReplicas: 3}}":  "exclude each other",
		"autoscaling: {minReplicas: 3}":                 "at least 1",
		"autoscaling: {minReplicas: 3, maxReplicas: 2}": "not within",
		"disruptionBudget: {}":                          "exactly one",
		"resources: {requests: {cpu: much}}":            "quantit",
		"- a list":                                      "cannot unmarshal",
	} {
		if _, err := ParseParameters(map[string]string{ParametersKey: text}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want one that says %q", text, err, says)
		}
	}
	if _, err := ParseParameters(map[string]string{"other": ""}); err == nil {
		t.Error("a ConfigMap without the key was taken")
	}
}

// The pods are found by the label that the Service and the Deployment select by.
func TestSelectorsMatchPods(t *testing.T) {
	gw := &gatewayv1.Gateway{}
	gw.Name, gw.Namespace = "wp", "shop"
	gw.Spec.Infrastructure = &gatewayv1.GatewayInfrastructure{Labels: map[gatewayv1.LabelKey]gatewayv1.LabelValue{
		"gateway.networking.k8s.io/gateway-name": "another", "team": "shop",
	}}
	o := Render(gw, Options{})
	pod := o.Deployment.Spec.Template.Labels
	for k, v := range o.Service.Spec.Selector {
		if pod[k] != v {
			t.Errorf("service selects %s=%s, pods have %q", k, v, pod[k])
		}
	}
	for k, v := range o.Deployment.Spec.Selector.MatchLabels {
		if pod[k] != v {
			t.Errorf("deployment selects %s=%s, pods have %q", k, v, pod[k])
		}
	}
	if pod["team"] != "shop" || pod["weft.dev/dataplane-mode"] != "none" {
		t.Errorf("pod labels %v", pod)
	}
}
