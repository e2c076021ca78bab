package e2e

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/model"
)

// grpcPort of the pods that Envoy itself calls.
const grpcPort = 8090

// grpcPod starts a service of one pod with a gRPC server of the test.
func (m *mesh) grpcPod(name, vip string, register func(*grpc.Server)) model.ServicePort {
	m.t.Helper()
	s := m.service(name, vip)
	s.Ports = append(s.Ports, model.Port{ServicePort: grpcPort, TargetPort: grpcPort, App: model.AppGRPC})
	p := m.pod(name, pods)
	ln, err := net.Listen("tcp", netip.AddrPortFrom(p.Addr, grpcPort).String())
	if err != nil {
		m.t.Fatal(err)
	}
	srv := grpc.NewServer()
	register(srv)
	go func() { _ = srv.Serve(ln) }()
	m.t.Cleanup(srv.Stop)
	return model.ServicePort{Service: s.Key(), Port: grpcPort}
}

// processor marks requests and answers, but for those to /mute, which it never answers.
type processor struct {
	procv3.UnimplementedExternalProcessorServer
}

func (processor) Process(s procv3.ExternalProcessor_ProcessServer) error {
	for {
		in, err := s.Recv()
		if err != nil {
			return err
		}
		out := &procv3.ProcessingResponse{}
		switch r := in.Request.(type) {
		case *procv3.ProcessingRequest_RequestHeaders:
			for _, h := range r.RequestHeaders.GetHeaders().GetHeaders() {
				if h.Key == ":path" && string(h.RawValue) == "/mute" {
					<-s.Context().Done()
					return nil
				}
			}
			out.Response = &procv3.ProcessingResponse_RequestHeaders{RequestHeaders: marked("x-proc")}
		case *procv3.ProcessingRequest_ResponseHeaders:
			out.Response = &procv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: marked("x-proc")}
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

func marked(header string) *procv3.HeadersResponse {
	return &procv3.HeadersResponse{Response: &procv3.CommonResponse{HeaderMutation: &procv3.HeaderMutation{
		SetHeaders: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: header, RawValue: []byte("seen")}}},
	}}}
}

// An external processor is asked over the mesh. What comes after it, which it has to wait for, is not passed over.
func TestExternalProcessor(t *testing.T) {
	m := newMesh(t)
	service := m.grpcPod("processor", "10.96.0.7", func(s *grpc.Server) { procv3.RegisterExternalProcessorServer(s, processor{}) })
	proc := func(failOpen bool, at model.ServicePort) *model.Extension {
		headers := model.ProcessedParts{Headers: true}
		return &model.Extension{Priority: 1, FailOpen: failOpen, ExtProc: &model.ExtProc{Service: at, Timeout: 500 * time.Millisecond, Request: headers, Response: headers}}
	}
	m.extension("proc", proc(false, service))
	m.extension("after", &model.Extension{Priority: 2, Lua: `function envoy_on_request(h) h:headers():add("x-after", h:headers():get("x-proc") or "nobody") end`})
	m.publish()
	m.answers(200, "X-Proc", "seen")
	e := m.statusIs(200, m.http, "GET", "/")
	if e.Headers.Get("X-Proc") != "seen" || e.Headers.Get("X-After") != "seen" {
		t.Errorf("the application saw %v", e.Headers)
	}
	m.statusIs(504, m.http, "GET", "/mute")
	m.extension("proc", proc(true, service))
	m.publish()
	m.statusIs(200, m.http, "GET", "/mute")

	gone := model.ServicePort{Service: "shop/gone.shop.svc.cluster.local", Port: 1}
	m.extension("proc", proc(false, gone))
	if p := m.publish(); len(p) != 1 || !strings.Contains(p[0].Message, "does not exist") {
		t.Errorf("problems %v", p)
	}
	m.statusIs(500, m.http, "GET", "/")
	m.extension("proc", proc(true, gone))
	m.publish()
	m.statusIs(200, m.http, "GET", "/")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}
