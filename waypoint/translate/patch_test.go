package translate_test

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// What guards or carries the mesh is not to be patched, by whatever way; then nothing of the patch is in force.
func TestPatchLimits(t *testing.T) {
	const cluster, routes, filter = "Cluster", "RouteConfiguration", "filter"
	text, err := os.ReadFile("testdata/policies.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ what, kind, patch, want string }{
		{"the way to the pods", cluster, `[{"op": "replace", "path": "/transport_socket_matches/1/name", "value": "raw"}]`, "transport_socket_matches"},
		{"no way to the pods", cluster, `[{"op": "remove", "path": "/transport_socket_matches"}]`, "transport_socket_matches"},
		{"one transport for all", cluster, `[{"op": "add", "path": "/transport_socket", "value": {"name": "raw"}}]`, "transport_socket"},
		{"other endpoints", cluster, `[{"op": "replace", "path": "/eds_cluster_config/service_name", "value": "shop/other:80"}]`, "eds_cluster_config"},
		{"another name", cluster, `[{"op": "replace", "path": "/name", "value": "tunnel"}]`, "name"},
		{"active health checks", cluster, `[{"op": "add", "path": "/health_checks", "value": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}]}]`, "health_checks"},
		{"filters on the way", cluster, `[{"op": "add", "path": "/filters", "value": [{"name": "x"}]}]`, "filters"},
		{"policies", routes, `[{"op": "remove", "path": "/virtual_hosts/0/typed_per_filter_config"}]`, "typed_per_filter_config"},
		{"policies of one route", routes, `[{"op": "add", "path": "/virtual_hosts/0/routes/0/typed_per_filter_config", "value": {"rbac.deny": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}}}]`, "typed_per_filter_config"},
		{"a route more", routes, `[{"op": "add", "path": "/virtual_hosts/0/routes/0", "value": {"match": {"prefix": "/x"}, "direct_response": {"status": 200}}}]`, "routes"},
		{"a host more", routes, `[{"op": "add", "path": "/virtual_hosts/0", "value": {"name": "x", "domains": ["x"]}}]`, "virtual_hosts"},
		{"another match", routes, `[{"op": "replace", "path": "/virtual_hosts/0/routes/0/match", "value": {"prefix": "/x"}}]`, "match"},
		{"Envoy's sources of secrets", routes, `[{"op": "replace", "path": "/virtual_hosts/0/routes/0/route/cluster", "value": "launcher"}]`, "cluster"},
		{"who the caller is", routes, `[{"op": "remove", "path": "/request_headers_to_add"}]`, "request_headers_to_add"},
		{"metadata", routes, `[{"op": "remove", "path": "/virtual_hosts/0/routes/0/metadata"}]`, "metadata"},
		{"an unknown field", cluster, `[{"op": "add", "path": "/nosuch", "value": 1}]`, "nosuch"},
		{"a bad value", cluster, `[{"op": "add", "path": "/connect_timeout", "value": "soon"}]`, "soon"},
		{"a value out of range", cluster, `[{"op": "add", "path": "/connect_timeout", "value": "-1s"}]`, "ConnectTimeout"},
		{"a path that is not there", cluster, `[{"op": "remove", "path": "/nosuch"}]`, "nosuch"},
		{"no patch", cluster, `{}`, "patches[0]"},
		{"a filter that makes up callers", filter, `{"@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config"}`, "may not be added"},
		{"a script outside its sandbox", filter, `{"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}`, "may not be added"},
		{"a filter with an unknown field", filter, `{"@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer", "x": 1}`, "x"},
	} {
		t.Run(c.what, func(t *testing.T) {
			in := input{Snapshot: model.NewSnapshot()}
			if err := yaml.UnmarshalStrict(text, &in); err != nil {
				t.Fatal(err)
			}
			want, _ := translate.Translate(in.Snapshot, "shop/wp", translate.Config{})
			patch := &model.EnvoyPatch{Patches: []model.ResourcePatch{{Type: c.kind, Operations: c.patch}}}
			if c.kind == filter {
				patch = &model.EnvoyPatch{Filters: []string{c.patch}}
			}
			in.Snapshot.Attachments = map[string]*model.Attachment{"p": {Kind: "EnvoyPatch", Namespace: "shop", Name: "p", Target: model.Target{Waypoint: "shop/wp"}, Patch: patch}}
			got, problems := translate.Translate(in.Snapshot, "shop/wp", translate.Config{})
			said := false
			for _, p := range problems {
				said = said || p.Source.Name == "p" && strings.Contains(p.Message, c.want) && strings.Contains(p.Message, "not in force")
			}
			if !said {
				t.Errorf("nobody says %q: %v", c.want, problems)
			}
			if string(render(t, got, nil, true)) != string(render(t, want, nil, true)) {
				t.Error("something of the patch is in force")
			}
		})
	}
}
