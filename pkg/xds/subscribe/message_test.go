package subscribe

import (
	"maps"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// What is written field by field is the message that Envoy's package reads.
func TestRequestIsEnvoysMessage(t *testing.T) {
	known := newVersions()
	known.set("a", "0123456789abcdef")
	known.set("b", "short")
	known.set("c", "gone")
	known.remove("c")
	for name, tc := range map[string]struct {
		in   request
		want *discoveryv3.DeltaDiscoveryRequest
	}{
		"first": {request{node: "ztunnel~n1", typeURL: wire.TypeAddress, subscribe: "*", known: known}, &discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: "ztunnel~n1", ClientFeatures: []string{wire.TakesParts}}, TypeUrl: wire.TypeAddress, ResourceNamesSubscribe: []string{"*"},
			InitialResourceVersions: map[string]string{"a": "0123456789abcdef", "b": "short"}}},
		"accepted": {request{typeURL: wire.TypeRange, nonce: "7"}, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeRange, ResponseNonce: "7"}},
		"refused": {request{typeURL: wire.TypeRange, nonce: "7", refusal: "no\nroom"}, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeRange, ResponseNonce: "7",
			ErrorDetail: &status.Status{Code: 3, Message: "no\nroom"}}},
	} {
		got := &discoveryv3.DeltaDiscoveryRequest{}
		if err := proto.Unmarshal(tc.in.marshal(), got); err != nil || !proto.Equal(got, tc.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, tc.want)
		}
	}
}

func someResponse() *discoveryv3.DeltaDiscoveryResponse {
	return &discoveryv3.DeltaDiscoveryResponse{
		SystemVersionInfo: "12+", TypeUrl: wire.TypeAddress, Nonce: "3", RemovedResources: []string{"x", "y"}, ControlPlane: &corev3.ControlPlane{Identifier: "c"},
		Resources: []*discoveryv3.Resource{
			{Name: "a", Version: "v1", Aliases: []string{"b"}, Ttl: durationpb.New(5), Resource: &anypb.Any{TypeUrl: wire.TypeAddress, Value: []byte("one")}},
			{Name: "none"},
			{Name: "empty", Resource: &anypb.Any{}},
			{Name: "other", Resource: &anypb.Any{TypeUrl: "other", Value: []byte("two")}, CacheControl: &discoveryv3.Resource_CacheControl{DoNotCache: true}},
		},
	}
}

func TestResponseIsEnvoysMessage(t *testing.T) {
	in := someResponse()
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	sameResponse(t, b)
	var got response
	if err := got.unmarshal(b); err != nil || len(got.resources) != 4 || len(got.removed) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// sameResponse compares with Envoy's package, which is stricter about what is not UTF-8 or not of interest here.
func sameResponse(t *testing.T, b []byte) {
	t.Helper()
	want, got := &discoveryv3.DeltaDiscoveryResponse{}, response{}
	err := got.unmarshal(b)
	if proto.Unmarshal(b, want) != nil {
		return
	}
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	if got.version != want.GetSystemVersionInfo() || got.typeURL != want.GetTypeUrl() || got.nonce != want.GetNonce() ||
		strings.Join(got.removed, "\n") != strings.Join(want.GetRemovedResources(), "\n") || len(got.resources) != len(want.GetResources()) {
		t.Fatalf("%x: %+v, want %v", b, got, want)
	}
	for i, w := range want.GetResources() {
		g := got.resources[i]
		if g.name != w.GetName() || g.version != w.GetVersion() || g.typeURL != w.GetResource().GetTypeUrl() || string(g.content) != string(w.GetResource().GetValue()) {
			t.Errorf("%x: %+v, want %v", b, g, w)
		}
		if w.GetResource() == nil && g.content != nil {
			t.Errorf("%x: content of %s", b, w.GetName())
		}
	}
}

func FuzzResponse(f *testing.F) {
	b, _ := proto.Marshal(someResponse())
	f.Add(b)
	f.Fuzz(sameResponse)
}

func TestVersions(t *testing.T) {
	v, want := newVersions(), map[string]string{}
	for _, version := range []string{"", "short", "0123456789abcdef", "longer than sixteen", "fedcba9876543210"} {
		v.set("a", version) // each in the place of the one before
		want["a"] = version
		if !v.has("a") || !maps.Equal(maps.Collect(v.all()), want) {
			t.Errorf("holds %v, want %v", maps.Collect(v.all()), want)
		}
	}
	if v.remove("a"); v.has("a") {
		t.Error("still there")
	}
}
