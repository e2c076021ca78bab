package e2e

import (
	"context"
	"errors"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/model"
)

// grpcApp answers with as many messages as it is asked for, and sums up what it is sent.
type grpcApp struct {
	testpb.UnimplementedTestServiceServer
}

func (grpcApp) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s := r.GetResponseStatus(); s != nil {
		return nil, status.Error(codes.Code(s.Code), s.Message)
	}
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-trailer", "yes"))
	return &testpb.SimpleResponse{Payload: r.Payload}, nil
}

func (grpcApp) StreamingOutputCall(r *testpb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[testpb.StreamingOutputCallResponse]) error {
	for _, p := range r.ResponseParameters {
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, p.Size)}}); err != nil {
			return err
		}
	}
	s.SetTrailer(metadata.Pairs("x-trailer", "yes"))
	if e := r.GetResponseStatus(); e != nil {
		return status.Error(codes.Code(e.Code), e.Message)
	}
	return nil
}

func (grpcApp) StreamingInputCall(s grpc.ClientStreamingServer[testpb.StreamingInputCallRequest, testpb.StreamingInputCallResponse]) error {
	sum := 0
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(r.Payload.Body)
	}
}

func (grpcApp) FullDuplexCall(s grpc.BidiStreamingServer[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse]) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}

// All four kinds of gRPC calls, status codes and trailers, on a port that says so and on one that does not.
func TestGRPCCalls(t *testing.T) {
	for _, declared := range []model.AppProtocol{model.AppGRPC, model.AppUnknown} {
		t.Run("declared "+string(declared), func(t *testing.T) { testGRPC(t, declared) })
	}
}

func testGRPC(t *testing.T, declared model.AppProtocol) {
	m := newMesh(t)
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, grpcApp{})
	addr := m.app(srv, declared)
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c, ctx := testpb.NewTestServiceClient(cc), t.Context()
	body := &testpb.Payload{Body: make([]byte, 200<<10)}
	var trailer metadata.MD
	res, err := c.UnaryCall(ctx, &testpb.SimpleRequest{Payload: body}, grpc.Trailer(&trailer), grpc.WaitForReady(true))
	if err != nil || len(res.Payload.Body) != len(body.Body) || len(trailer.Get("x-trailer")) != 1 {
		t.Fatalf("unary: %v, trailers %v", err, trailer)
	}
	_, err = c.UnaryCall(ctx, &testpb.SimpleRequest{ResponseStatus: &testpb.EchoStatus{Code: int32(codes.DataLoss), Message: "gone: 100%"}})
	if s := status.Convert(err); s.Code() != codes.DataLoss || s.Message() != "gone: 100%" {
		t.Errorf("status: %v", err)
	}
	out, err := c.StreamingOutputCall(ctx, &testpb.StreamingOutputCallRequest{ResponseParameters: []*testpb.ResponseParameters{{Size: 1}, {Size: 100 << 10}, {Size: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; err == nil; n++ {
		_, err = out.Recv()
	}
	if n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("server stream: %d messages, %v", n-1, err)
	}
	in, err := c.StreamingInputCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := in.Send(&testpb.StreamingInputCallRequest{Payload: body}); err != nil {
			t.Fatal(err)
		}
	}
	if sum, err := in.CloseAndRecv(); err != nil || int(sum.AggregatedPayloadSize) != 5*len(body.Body) {
		t.Errorf("client stream: %v %v", sum, err)
	}
	both, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // each message is answered before the next
		if err := both.Send(&testpb.StreamingOutputCallRequest{Payload: body}); err != nil {
			t.Fatal(err)
		}
		if r, err := both.Recv(); err != nil || len(r.Payload.Body) != len(body.Body) {
			t.Fatalf("both streams: %v", err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the end of both streams: %v", err)
	}
}
