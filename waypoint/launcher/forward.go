package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// maxMessage bounds one message of configuration.
const maxMessage = 256 << 20

// frame is a message that is not looked into.
type frame struct{ data mem.BufferSlice }

// rawCodec passes frames through as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return nil, fmt.Errorf("forward to the controller: cannot send a %T", v)
	}
	return f.data, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*frame)
	if !ok {
		return fmt.Errorf("forward to the controller: cannot receive into a %T", v)
	}
	data.Ref() // the transport frees its own reference when this returns
	f.data = data
	return nil
}

// Name is the subtype that both ends speak anyway.
func (rawCodec) Name() string { return "proto" }

// forward hands every stream to the controller, and what comes back through the gate; conn adds our token to each. It
// ends with the first end of either side, so that Envoy notices a controller that went and connects again.
func forward(conn *grpc.ClientConn, g *gate, log *zap.Logger) grpc.StreamHandler {
	return func(_ any, down grpc.ServerStream) error {
		method, ok := grpc.MethodFromServerStream(down)
		if !ok || method != discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName {
			return status.Errorf(codes.Unimplemented, "forward to the controller: Envoy asks by %q, and nothing is tried there", method)
		}
		ctx, cancel := context.WithCancel(down.Context())
		defer cancel()
		// The controller gets our token and nothing of Envoy's own metadata.
		up, err := conn.NewStream(metadata.NewOutgoingContext(ctx, metadata.MD{}), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
			grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxMessage))
		if err != nil {
			log.Warn("controller unreachable, Envoy goes on with what it has", zap.Error(err))
			return err
		}
		asks := &asker{up: up}
		p := newPassage(ctx, g, func(f *frame) error { return down.SendMsg(f) }, asks.send)
		go asks.forward(down, p)
		defer p.trials.Wait()
		defer cancel() // before that
		for {
			f := &frame{}
			if err := up.RecvMsg(f); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				log.Warn("stream to the controller ended, Envoy goes on with what it has", zap.Error(err))
				return err
			}
			if err := p.take(f); err != nil {
				return err
			}
		}
	}
}

// asker sends to the controller: what Envoy asks, and what the gate answers in its place.
type asker struct {
	up      grpc.ClientStream
	sending sync.Mutex // held while something is sent
}

func (a *asker) send(f *frame) error {
	a.sending.Lock()
	defer a.sending.Unlock()
	return a.up.SendMsg(f)
}

// forward ends with either side.
func (a *asker) forward(down grpc.ServerStream, p *passage) {
	for {
		f := &frame{}
		if err := down.RecvMsg(f); err != nil {
			// io.EOF: Envoy closed its half. Anything else ends the handler's context, and up with it.
			if errors.Is(err, io.EOF) {
				a.sending.Lock()
				defer a.sending.Unlock()
				_ = a.up.CloseSend()
			}
			return
		}
		if p.ask(f) != nil {
			return // the receiving side learns why
		}
	}
}
