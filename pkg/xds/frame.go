package xds

import (
	"crypto/sha256"
	"encoding/base64"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of envoy.service.discovery.v3.DeltaDiscoveryResponse, Resource, and google.protobuf.Any.
const (
	responseResources                              = 2
	resourceVersion, resourceContent, resourceName = 1, 2, 3
	anyType, anyValue                              = 1, 2
)

// frame encodes a resource as a response has it.
func frame(name, typeURL string, body []byte, slot int32) kept {
	version := versionOf(body)
	size := func(n int) int { return 1 + protowire.SizeBytes(n) } // the numbers of all fields take a byte
	value := size(len(typeURL)) + size(len(body))
	all := size(len(name)) + size(len(version)) + size(value)
	b := make([]byte, 0, size(all))
	head := func(n protowire.Number, size int) {
		b = protowire.AppendVarint(protowire.AppendTag(b, n, protowire.BytesType), uint64(size))
	}
	head(responseResources, all)
	head(resourceName, len(name))
	b = append(b, name...)
	head(resourceVersion, len(version))
	b = append(b, version...)
	head(resourceContent, value)
	head(anyType, len(typeURL))
	b = append(b, typeURL...)
	head(anyValue, len(body))
	return kept{frame: append(b, body...), body: int32(len(b)), slot: slot, version: version}
}

// resource is what is in the frame.
func (k kept) resource() []byte { return k.frame[k.body:] }

// versionOf is the same in every replica, before and after a restart.
func versionOf(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// message is a response with these resources. They are in it as they will be sent: as bytes that the message does not
// look into, see resourcesIn.
func (c *deltaCache) message(what *content, version string) *discoveryv3.DeltaDiscoveryResponse {
	m := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: c.typeURL, SystemVersionInfo: version, RemovedResources: what.removed}
	m.ProtoReflect().SetUnknown(what.frames)
	return m
}

// resourcesIn counts the resources of a response.
func resourcesIn(r *discoveryv3.DeltaDiscoveryResponse) int {
	n := len(r.GetResources())
	for b := r.ProtoReflect().GetUnknown(); len(b) > 0; n++ {
		_, _, used := protowire.ConsumeField(b)
		if used < 0 {
			return n // it is our own encoding
		}
		b = b[used:]
	}
	return n
}
