package xds

import (
	"bytes"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// What a response holds as bytes is what a client reads as resources.
func TestFramesAreResources(t *testing.T) {
	c := newDeltaCache(wire.TypeAddress, addressesOf)
	bodies := map[string][]byte{"": {}, "a": []byte("one"), "shop/cart": bytes.Repeat([]byte{7}, 300), "large": make([]byte, 1<<20)}
	if err := c.set(change{update: bodies}); err != nil {
		t.Fatal(err)
	}
	m := c.message(c.all(nil), "5")
	if n := resourcesIn(m); n != len(bodies) {
		t.Errorf("%d resources are counted, want %d", n, len(bodies))
	}
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	got := &discoveryv3.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(b, got); err != nil {
		t.Fatal(err)
	}
	if len(got.ProtoReflect().GetUnknown()) != 0 || got.GetSystemVersionInfo() != "5" || len(got.GetResources()) != len(bodies) || resourcesIn(got) != len(bodies) {
		t.Errorf("read as %d resources of version %s", len(got.GetResources()), got.GetSystemVersionInfo())
	}
	for _, r := range got.GetResources() {
		body, known := bodies[r.GetName()]
		if !known || !bytes.Equal(r.GetResource().GetValue(), body) || r.GetResource().GetTypeUrl() != wire.TypeAddress || r.GetVersion() != versionOf(body) {
			t.Errorf("%q: version %s, %d bytes of %s", r.GetName(), r.GetVersion(), len(r.GetResource().GetValue()), r.GetResource().GetTypeUrl())
		}
		if k := c.resources[r.GetName()]; !bytes.Equal(k.resource(), body) {
			t.Errorf("%q: %d bytes are kept", r.GetName(), len(k.resource()))
		}
	}
}
