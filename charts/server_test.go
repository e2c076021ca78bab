package charts_test

import (
	"context"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/weftmesh/weft/internal/kubetest"
)

// foreign kinds belong to operators whose schemas no API server of ours has.
var foreign = map[string]bool{"PodMonitor": true, "Certificate": true, "SecurityContextConstraints": true}

// All that needs an API server shares one.
func TestServer(t *testing.T) {
	s := kubetest.Start(t)
	t.Run("takes all", func(t *testing.T) { takesAll(t, s) })
	t.Run("says what the standard channel lacks", func(t *testing.T) { lacks(t, s) })
	own := withCRDs(t, s)
	t.Run("refuses", func(t *testing.T) { refused(t, own) })
	t.Run("agrees with folders", func(t *testing.T) { agree(t, own) })
}

// takesAll: each object of each profile, strictly: no unknown field, no wrong type, no rule of validation that
// is broken, no expression of the admission policy that does not compile.
func takesAll(t *testing.T, s *kubetest.Server) {
	s.InstallGatewayAPI("standard")
	s.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: weft-system}\n")
	d, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	c, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	seen := map[string]int{}
	for name, values := range profiles(t) {
		values["monitoring"] = map[string]any{"dashboards": map[string]any{"enabled": true}}
		for doc := range strings.SplitSeq(manifest(t, values), "\n---\n") {
			u := parse(t, doc)
			if u == nil || foreign[u.GetKind()] {
				continue
			}
			seen[u.GetKind()]++
			m, err := mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
			if err != nil {
				t.Fatalf("%s: %s %s: %v", name, u.GetKind(), u.GetName(), err)
			}
			_, err = c.Resource(m.Resource).Namespace(u.GetNamespace()).
				Create(context.Background(), u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict})
			if err != nil {
				t.Errorf("%s: %s %s: %v", name, u.GetKind(), u.GetName(), err)
			}
		}
	}
	for _, kind := range []string{"CustomResourceDefinition", "Deployment", "DaemonSet", "GatewayClass", "ValidatingAdmissionPolicy", "Job", "ConfigMap", "ResourceQuota"} {
		if seen[kind] == 0 {
			t.Errorf("no %s was tried", kind)
		}
	}
}

// lacks: who writes a field of Gateway API's experimental channel is told that the standard one has none, as
// docs/tasks says.
func lacks(t *testing.T, s *kubetest.Server) {
	c, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	for field, value := range map[string]any{"retry": map[string]any{"attempts": int64(1)}, "sessionPersistence": map[string]any{"sessionName": "a"}} {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"name": "a", "namespace": "weft-system"},
			"spec": map[string]any{"rules": []any{map[string]any{field: value}}},
		}}
		routes := c.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}).Namespace("weft-system")
		_, err := routes.Create(context.Background(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
		if want := `unknown field "spec.rules[0].` + field + `"`; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
}
