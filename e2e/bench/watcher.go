package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// watcher stands for the ztunnel of a node: it subscribes to everything over a connection of its own and answers
// every response, but looks into none further than the names of the pods that changes made. So a thousand of
// them take little from the controller that is measured.
type watcher struct {
	conn *grpc.ClientConn
	s    grpc.ClientStream
}

func (c *control) watch(ctx context.Context, node string) (*watcher, error) {
	token, err := c.token(node)
	if err != nil {
		return nil, err
	}
	conn, err := ca.Dial(ca.DialOptions{Address: c.listen, RootFile: c.in("ca/root-cert.pem"), TokenFile: token})
	if err != nil {
		return nil, err
	}
	desc := &grpc.StreamDesc{StreamName: "DeltaAggregatedResources", ClientStreams: true, ServerStreams: true}
	s, err := conn.NewStream(ctx, desc, discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(headsOnly{}),
		grpc.WaitForReady(true)) // as a ztunnel tries again, when a thousand handshakes at once take too long
	if err != nil {
		conn.Close()
		return nil, err
	}
	w := &watcher{conn: conn, s: s}
	for _, t := range []string{wire.TypeAuthorization, wire.TypeRange, wire.TypeAddress} {
		first := &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: wire.ZtunnelNode(node), ClientFeatures: []string{wire.TakesParts}}, TypeUrl: t, ResourceNamesSubscribe: []string{"*"}}
		if err := s.SendMsg(first); err != nil {
			conn.Close()
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	return w, nil
}

// next answers a response and returns what it looked at.
func (w *watcher) next() (*heads, error) {
	h := &heads{}
	if err := w.s.RecvMsg(h); err != nil {
		return nil, err
	}
	return h, w.s.SendMsg(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: h.typeURL, ResponseNonce: h.nonce})
}

// all reads until everything is there.
func (w *watcher) all() error {
	for {
		h, err := w.next()
		if err != nil {
			return err
		}
		if h.typeURL == wire.TypeAddress && !wire.MoreFollows(h.version) {
			return nil
		}
	}
}

// heads is of a response what a watcher looks at.
type heads struct {
	version, typeURL, nonce string
	made                    []int // numbers of pods that changes made
	bytes                   int
}

// smallResponse is up to where the names of resources are looked at: beyond it is the first one.
const smallResponse = 128 << 10

func (h *heads) read(b []byte) error {
	h.bytes = len(b)
	small := len(b) < smallResponse
	return fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case 1:
			h.version = string(v)
		case 4:
			h.typeURL = string(v)
		case 5:
			h.nonce = string(v)
		case 2:
			if !small || !bytes.Contains(v, []byte(churnName)) {
				return nil
			}
			return fields(v, func(n protowire.Number, v []byte) error {
				if n == 3 {
					_, number, _ := strings.Cut(string(v), churnName)
					if i, err := strconv.Atoi(number); err == nil {
						h.made = append(h.made, i)
					}
				}
				return nil
			})
		}
		return nil
	})
}

// fields hands over the fields of a message that have content.
func fields(b []byte, take func(n protowire.Number, v []byte) error) error {
	for len(b) > 0 {
		n, typ, used := protowire.ConsumeTag(b)
		if used < 0 {
			return protowire.ParseError(used)
		}
		length := protowire.ConsumeFieldValue(n, typ, b[used:])
		if length < 0 {
			return protowire.ParseError(length)
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[used:])
			if err := take(n, v); err != nil {
				return err
			}
		}
		b = b[used+length:]
	}
	return nil
}

// headsOnly reads heads and writes messages.
type headsOnly struct{}

func (headsOnly) Name() string { return "proto" }

func (headsOnly) Marshal(v any) (mem.BufferSlice, error) {
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (headsOnly) Unmarshal(data mem.BufferSlice, v any) error {
	return v.(*heads).read(data.Materialize())
}

// seen is when a watcher heard of a pod that a change made.
type seen struct {
	made  int
	at    time.Time
	bytes int // of the response, told with its first pod only
}

// follow tells of pods that changes made until the stream ends.
func (w *watcher) follow(tell func(seen)) {
	for {
		h, err := w.next()
		if err != nil {
			return
		}
		now := time.Now()
		for i, n := range h.made {
			s := seen{made: n, at: now}
			if i == 0 {
				s.bytes = h.bytes
			}
			tell(s)
		}
		if len(h.made) == 0 && h.typeURL == wire.TypeAddress {
			tell(seen{made: -1, at: now, bytes: h.bytes})
		}
	}
}
