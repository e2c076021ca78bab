package charts_test

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	release "helm.sh/helm/v4/pkg/release/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite testdata/golden")

// profiles are the platforms' values, "" the chart's own, and one that turns everything else on.
func profiles(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{"default": {}}
	files, err := filepath.Glob("weft/profiles/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("profiles: %v %v", files, err)
	}
	for _, f := range append(files, "testdata/everything.yaml") {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]any{}
		if err := yaml.UnmarshalStrict(data, &values); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".yaml")] = values
	}
	return out
}

// render is what `helm template` does, hooks and notes included.
func render(namespace string, values map[string]any) (*release.Release, error) {
	c, err := loader.Load("weft")
	if err != nil {
		return nil, err
	}
	i := action.NewInstall(action.NewConfiguration())
	i.ReleaseName, i.Namespace, i.DryRunStrategy = "weft", namespace, action.DryRunClient
	i.KubeVersion = &common.KubeVersion{Version: "v1.36.3", Major: "1", Minor: "36"}
	i.APIVersions = common.VersionSet{"gateway.networking.k8s.io/v1/GatewayClass"}
	r, err := i.Run(c, values)
	if err != nil {
		return nil, err
	}
	return r.(*release.Release), nil
}

// manifest is everything that an install, and at last an uninstall, gives to the API server.
func manifest(t *testing.T, values map[string]any) string {
	t.Helper()
	r, err := render("weft-system", values)
	if err != nil {
		t.Fatal(err)
	}
	out := r.Manifest
	slices.SortStableFunc(r.Hooks, func(a, b *release.Hook) int { return a.Weight - b.Weight })
	for _, h := range r.Hooks {
		out += "---\n# Source: " + h.Path + " (hook)\n" + h.Manifest + "\n"
	}
	return out
}

// without drops values whose output is generated elsewhere, and long.
func without(values map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range values {
		out[k] = v
	}
	out["crds"] = map[string]any{"install": false}
	return out
}

func TestGolden(t *testing.T) {
	for name, values := range profiles(t) {
		t.Run(name, func(t *testing.T) {
			got := manifest(t, without(values))
			file := filepath.Join("testdata/golden", name+".yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLint(t *testing.T) {
	for name, values := range profiles(t) {
		for _, m := range lint.RunAll("weft", values, "weft-system").Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// Values that are misspelt, of a wrong type or out of range are refused, and so are contradictions.
func TestBadValues(t *testing.T) {
	for yamlText, want := range map[string]string{
		"hubb: x":                            "additional properties 'hubb' not allowed",
		"agent: {resource: {}}":              "additional properties 'resource' not allowed",
		"controller: {replicas: 0}":          "/controller/replicas",
		"controller: {replicas: two}":        "/controller/replicas",
		"imagePullPolicy: always":            "/imagePullPolicy",
		"logLevel: verbose":                  "/logLevel",
		"ca: {certTTL: 24}":                  "/ca/certTTL",
		"ca: {certTTL: 1d}":                  "/ca/certTTL",
		"cni: {confDir: etc/cni}":            "/cni/confDir",
		"agent: {metricsAddress: \":9090\"}": "/agent/metricsAddress",
		"agent: {extraArgs: {a: b}}":         "/agent/extraArgs",
		"ztunnel: {accessLog: plain}":        "/ztunnel/accessLog",
		"ztunnel: {tunnelTLS: openssl}":      "/ztunnel/tunnelTLS",
		"ztunnel: {maxSurge: 0}":             "/ztunnel/maxSurge",
		"trustDomain: Example.com":           "/trustDomain",
		"ca: {certManager: {enabled: true}}": "issuerRef",
		"ca: {existingSecret: x, certManager: {enabled: true, issuerRef: {name: z}}}": "exclude each other",
	} {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(yamlText), &values); err != nil {
			t.Fatal(err)
		}
		if _, err := render("weft-system", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant …%s…", yamlText, err, want)
		}
	}
	if _, err := render("default", nil); err == nil || !strings.Contains(err.Error(), "--namespace weft-system") {
		t.Errorf("another namespace: %v", err)
	}
}

// Every value of values.yaml is in the schema, and the schema has a type for each value of values.yaml.
func TestSchemaIsWhole(t *testing.T) {
	read := func(name string) map[string]any {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]any{}
		if err := yaml.Unmarshal(data, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	var walk func(path string, schema, values map[string]any)
	walk = func(path string, schema, values map[string]any) {
		properties, ok := schema["properties"].(map[string]any)
		if !ok {
			return
		}
		if schema["additionalProperties"] != false {
			t.Errorf("%s lets unknown names pass", path)
		}
		for name, p := range properties {
			if name == "global" && path == "" {
				continue
			}
			v, there := values[name]
			if !there {
				if path != "/agent/resources" && path != "/ztunnel/resources" && !strings.HasSuffix(path, "issuerRef") && !strings.HasSuffix(path, "seLinuxOptions") {
					t.Errorf("%s/%s is in the schema and not in values.yaml", path, name)
				}
				continue
			}
			if sub, ok := v.(map[string]any); ok {
				walk(path+"/"+name, p.(map[string]any), sub)
			}
		}
	}
	walk("", read("weft/values.schema.json"), read("weft/values.yaml"))
}
