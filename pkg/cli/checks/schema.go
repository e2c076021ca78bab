package checks

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// sameSchema compares what matters of a CRD: the schemas of its versions.
func sameSchema(have *unstructured.Unstructured, want []byte) bool {
	var file map[string]any
	if yaml.Unmarshal(want, &file) != nil {
		return true // nothing to compare with
	}
	return schemas(have.Object) == schemas(file)
}

func schemas(crd map[string]any) string {
	versions, _, _ := unstructured.NestedSlice(crd, "spec", "versions")
	out := map[string]any{}
	for _, v := range versions {
		if m, ok := v.(map[string]any); ok {
			name, _ := m["name"].(string)
			out[name] = m["schema"]
		}
	}
	text, _ := json.Marshal(out)
	return string(text)
}
