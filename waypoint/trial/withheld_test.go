package trial

import (
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/waypoint/translate"
)

// What a launcher withholds by name the controller reads again, and no other refusal for it.
func TestWithheld(t *testing.T) {
	by := func(names string) *corev3.Metadata {
		return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{translate.PatchMark: {
			Fields: map[string]*structpb.Value{"by": structpb.NewStringValue(names)},
		}}}
	}
	c := Candidate{Clusters: []*clusterv3.Cluster{{Metadata: by("shop/one shop/two")}}, Routes: []*routev3.RouteConfiguration{{Metadata: by("bank/one shop/two")}}}
	var want []translate.Source
	for _, key := range []string{"bank/one", "shop/one", "shop/two"} {
		namespace, name, _ := strings.Cut(key, "/")
		want = append(want, translate.Source{Kind: translate.KindPatch, Namespace: namespace, Name: name})
	}
	said := Withheld{Sources: c.Patches(), Pending: true}.String()
	got, ok := ReadWithheld(said)
	if !ok || !got.Pending || !slices.Equal(got.Sources, want) || !Said(said) {
		t.Errorf("%q is read as %v, want %v", said, got, want)
	}
	for _, other := range []string{"", "regex refused", (&Refusal{Outcome: Hung, Words: "no verdict"}).Error()} {
		if _, ok := ReadWithheld(other); ok {
			t.Errorf("%q is taken for what a launcher withholds", other)
		}
	}
}

// A candidate may take longer the larger it is.
func TestLimitGrows(t *testing.T) {
	large := Candidate{Routes: []*routev3.RouteConfiguration{{Name: strings.Repeat("x", 10<<20)}}}
	if got, want := limitOf(large.size()), Limit+10*perMiB; got < want || got > want+perMiB {
		t.Errorf("10 MiB may take %v, want %v", got, want)
	}
	if got := limitOf(0); got != Limit {
		t.Errorf("nothing may take %v, want %v", got, Limit)
	}
}
