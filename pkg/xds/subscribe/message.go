package subscribe

import (
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weftmesh/weft/pkg/xds/wire"
)

// The messages of delta discovery are written and read here, field by field, rather than by Envoy's generated
// package, which brings Envoy's configuration with it. A response that names everything is tens of megabytes: what
// is read of it points into it, and nothing of it is kept.

// method is envoy.service.discovery.v3.AggregatedDiscoveryService's.
const method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// request is a DeltaDiscoveryRequest.
type request struct {
	node, typeURL string
	subscribe     string
	nonce         string
	refusal       string // empty: accepted
	known         *versions
}

const (
	requestNode, requestType, requestSubscribe, requestVersions = 1, 2, 3, 5
	requestNonce, requestError                                  = 6, 7
	nodeID, nodeFeatures                                        = 1, 10
	statusCode, statusMessage                                   = 1, 2
	entryKey, entryValue                                        = 1, 2

	responseVersion, responseResources, responseType = 1, 2, 4
	responseNonce, responseRemoved                   = 5, 6
	resourceVersion, resourceContent, resourceName   = 1, 2, 3
	anyType, anyValue                                = 1, 2
)

func (r *request) marshal() []byte {
	var b []byte
	if r.node != "" {
		b = appendBytes(b, requestNode, appendText(appendText(nil, nodeID, r.node), nodeFeatures, wire.TakesParts))
	}
	b = appendText(b, requestType, r.typeURL)
	b = appendText(b, requestSubscribe, r.subscribe)
	b = appendText(b, requestNonce, r.nonce)
	if r.refusal != "" {
		status := protowire.AppendVarint(protowire.AppendTag(nil, statusCode, protowire.VarintType), uint64(codes.InvalidArgument))
		b = appendBytes(b, requestError, appendText(status, statusMessage, r.refusal))
	}
	if r.known == nil {
		return b
	}
	var entry []byte
	for name, version := range r.known.all() {
		entry = appendText(appendText(entry[:0], entryKey, name), entryValue, version)
		b = appendBytes(b, requestVersions, entry)
	}
	return b
}

// appendText leaves out what is empty.
func appendText(b []byte, n protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
}

func appendBytes(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

// response is a DeltaDiscoveryResponse. Its resources point into the bytes that it was read from.
type response struct {
	version, typeURL, nonce string
	resources               []resource
	removed                 []string
}

type resource struct {
	name, version string
	typeURL       string // of the content
	content       []byte // nil: none
}

var errMessage = errors.New("not a discovery response")

func (r *response) unmarshal(b []byte) error {
	return each(b, func(n protowire.Number, v []byte) error {
		switch n {
		case responseVersion:
			r.version = string(v)
		case responseType:
			r.typeURL = string(v)
		case responseNonce:
			r.nonce = string(v)
		case responseRemoved:
			r.removed = append(r.removed, string(v))
		case responseResources:
			one, usual := resource{}, ""
			if n := len(r.resources); n > 0 {
				usual = r.resources[n-1].typeURL
			}
			if err := one.unmarshal(v, usual); err != nil {
				return err
			}
			r.resources = append(r.resources, one)
		}
		return nil
	})
}

func (r *resource) unmarshal(b []byte, usual string) error {
	return each(b, func(n protowire.Number, v []byte) error {
		switch n {
		case resourceVersion:
			r.version = string(v)
		case resourceName:
			r.name = string(v)
		case resourceContent:
			if r.content == nil {
				r.content = []byte{}
			}
			return each(v, func(n protowire.Number, v []byte) error {
				switch n {
				case anyType:
					if r.typeURL = usual; string(v) != usual { // which it nearly always is
						r.typeURL = string(v)
					}
				case anyValue:
					r.content = v
				}
				return nil
			})
		}
		return nil
	})
}

// each hands over the fields of a message that are neither numbers nor groups, which are passed over: none is of
// interest here.
func each(b []byte, take func(n protowire.Number, v []byte) error) error {
	for len(b) > 0 {
		n, typ, used := protowire.ConsumeTag(b)
		if used < 0 {
			return fmt.Errorf("%w: %w", errMessage, protowire.ParseError(used))
		}
		b = b[used:]
		if typ != protowire.BytesType {
			if used = protowire.ConsumeFieldValue(n, typ, b); used < 0 {
				return fmt.Errorf("%w: %w", errMessage, protowire.ParseError(used))
			}
			b = b[used:]
			continue
		}
		v, used := protowire.ConsumeBytes(b)
		if used < 0 {
			return fmt.Errorf("%w: %w", errMessage, protowire.ParseError(used))
		}
		if err := take(n, v); err != nil {
			return err
		}
		b = b[used:]
	}
	return nil
}

// codec gives gRPC the messages of this package.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	r, ok := v.(*request)
	if !ok {
		return nil, fmt.Errorf("not a discovery request: %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(r.marshal())}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*response)
	if !ok {
		return fmt.Errorf("not a discovery response: %T", v)
	}
	*r = response{}
	return r.unmarshal(data.Materialize())
}

// stream is the client's end of delta discovery.
type stream struct{ grpc.ClientStream }

func (s stream) send(r *request) error { return s.SendMsg(r) }

func (s stream) recv() (*response, error) {
	r := &response{}
	return r, s.RecvMsg(r)
}
