package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/pkg/model"
)

const testService = "/grpc.testing.TestService/"

// A client of gRPC-Web that is not ours, by HTTP/1.1 as browsers may: one answer, a stream of them, trailers, and an
// error before any message and after some.
func TestGRPCWebLibrary(t *testing.T) {
	m := newMesh(t)
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, grpcApp{})
	m.route("web", model.RouteRule{Filters: []model.HTTPFilter{{Name: "shop/web", GRPCWeb: true}}, Backends: []model.Backend{toPort(key, appPort, 1)}}).Port = appPort
	base := "http://" + m.app(srv, model.AppGRPC) + testService
	hc := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(hc.CloseIdleConnections)
	unary := connect.NewClient[testpb.SimpleRequest, testpb.SimpleResponse](hc, base+"UnaryCall", connect.WithGRPCWeb())
	stream := connect.NewClient[testpb.StreamingOutputCallRequest, testpb.StreamingOutputCallResponse](hc, base+"StreamingOutputCall", connect.WithGRPCWeb())
	body := make([]byte, 100<<10)

	m.eventually("a call is answered", func() error {
		res, err := unary.CallUnary(t.Context(), connect.NewRequest(&testpb.SimpleRequest{Payload: &testpb.Payload{Body: body}}))
		switch {
		case err != nil:
			return err
		case len(res.Msg.Payload.Body) != len(body), res.Trailer().Get("X-Trailer") != "yes", res.Header().Get("Content-Type") != "application/grpc-web+proto":
			return fmt.Errorf("%d bytes, headers %v, trailers %v", len(res.Msg.Payload.Body), res.Header(), res.Trailer())
		}
		return nil
	})
	gone := &testpb.EchoStatus{Code: int32(connect.CodeDataLoss), Message: "gone: 100%"}
	_, err := unary.CallUnary(t.Context(), connect.NewRequest(&testpb.SimpleRequest{ResponseStatus: gone}))
	isGone(t, "instead of an answer", err)

	for name, status := range map[string]*testpb.EchoStatus{"orderly": nil, "by an error": gone} {
		s, err := stream.CallServerStream(t.Context(), connect.NewRequest(&testpb.StreamingOutputCallRequest{
			ResponseParameters: []*testpb.ResponseParameters{{Size: 1}, {Size: int32(len(body))}, {Size: 3}}, ResponseStatus: status,
		}))
		if err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for s.Receive() {
			sizes = append(sizes, len(s.Msg().Payload.Body))
		}
		if got, want := fmt.Sprint(sizes), fmt.Sprint([]int{1, len(body), 3}); got != want {
			t.Errorf("a stream that ends %s: messages of %v, want %v", name, got, want)
		}
		if got := s.ResponseTrailer().Get("X-Trailer"); got != "yes" {
			t.Errorf("a stream that ends %s: trailer %q", name, got)
		}
		if status != nil {
			isGone(t, "after messages", s.Err())
		} else if s.Err() != nil {
			t.Error(s.Err())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// isGone wants the application's own status.
func isGone(t *testing.T, when string, err error) {
	t.Helper()
	var e *connect.Error
	if !errors.As(err, &e) || e.Code() != connect.CodeDataLoss || e.Message() != "gone: 100%" || !connect.IsWireError(err) {
		t.Errorf("%s: %v", when, err)
	}
}
