package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"

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

// forward hands every stream to the controller; conn adds our token to each. It ends with the first end of
// either side, so that Envoy notices a controller that went and connects again.
func forward(conn *grpc.ClientConn, log *zap.Logger) grpc.StreamHandler {
	return func(_ any, down grpc.ServerStream) error {
		method, ok := grpc.MethodFromServerStream(down)
		if !ok {
			return status.Error(codes.Internal, "forward to the controller: a stream without a method")
		}
		up, err := conn.NewStream(outgoing(down), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method,
			grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(maxMessage))
		if err != nil {
			log.Warn("controller unreachable, Envoy goes on with what it has", zap.Error(err))
			return err
		}
		go func() {
			for {
				f := &frame{}
				if err := down.RecvMsg(f); err != nil {
					// io.EOF: Envoy closed its half. Anything else ends the handler's context, and up with it.
					if errors.Is(err, io.EOF) {
						_ = up.CloseSend()
					}
					return
				}
				if up.SendMsg(f) != nil {
					return // the receiving side below learns why
				}
			}
		}()
		for {
			f := &frame{}
			if err := up.RecvMsg(f); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				log.Warn("stream to the controller ended, Envoy goes on with what it has", zap.Error(err))
				return err
			}
			if err := down.SendMsg(f); err != nil {
				return err
			}
		}
	}
}

// outgoing keeps Envoy's own metadata out: the controller gets our token and nothing else.
func outgoing(down grpc.ServerStream) context.Context {
	return metadata.NewOutgoingContext(down.Context(), metadata.MD{})
}
