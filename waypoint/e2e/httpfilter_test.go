package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftmesh/weft/pkg/model"
)

const vipGRPC = "10.96.0.1:90"

// send makes a request with a body and reads the whole answer, undecoded.
func send(t *testing.T, c *http.Client, method, p, body string, header ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://cart"+p, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, data
}

// filtered is a rule for a prefix with one HTTPFilter.
func filtered(prefix string, f model.HTTPFilter) model.RouteRule {
	f.Name = "shop/test"
	r := model.RouteRule{Matches: path(model.PathPrefix, prefix), Filters: []model.HTTPFilter{f}}
	if f.Direct == nil {
		r.Backends = []model.Backend{backend(key, 1)}
	}
	return r
}

func TestHTTPFilters(t *testing.T) {
	m := newMesh(t)
	long := strings.Repeat("sorry ", 8000)
	m.snap.L7Policies["shop/own"] = &model.L7Policy{Namespace: "shop", Name: "own", Service: key, Action: model.Allow,
		Rules: []model.L7Rule{{From: []model.Match{{Namespaces: []model.StringMatch{{Value: "shop"}}}}}}}
	m.route("filters",
		filtered("/closed", model.HTTPFilter{Direct: &model.DirectResponse{Status: 451, Body: long, Headers: []model.Header{{Name: "content-type", Value: "text/html"}, {Name: "x-why", Value: "100% law"}}}}),
		filtered("/small", model.HTTPFilter{Compression: &model.Compression{Algorithms: []string{"br", "gzip", "zstd"}, MinLength: 100}}),
		filtered("/gzip", model.HTTPFilter{Compression: &model.Compression{Algorithms: []string{"gzip"}, MinLength: 30, ContentTypes: []string{"image/png"}}}),
		filtered("/plain", model.HTTPFilter{Compression: &model.Compression{Algorithms: []string{"gzip"}, MinLength: 30, ContentTypes: []string{"Text/Plain"}}}),
		filtered("/headers", model.HTTPFilter{Headers: &model.HeaderFilter{
			Request: model.HeaderChange{Remove: []string{"X-Secret"}, Add: []model.Header{{Name: "X-Seen", Value: "${request.method} ${request.path} 5% $$"}}, Set: []model.Header{
				{Name: "X-Caller", Value: "${caller.namespace}/${caller.serviceAccount}=${caller.identity}"}, {Name: "X-Copy", Value: "<${request.header.X-From}>"}, {Name: "X-Id", Value: "${request.id}"}}},
			Response: model.HeaderChange{Set: []model.Header{{Name: "X-Result", Value: "${response.code} for ${request.host}"}}},
		}}),
		filtered("/v2", model.HTTPFilter{PathRewrite: &model.RegexRewrite{Regex: `^/v([0-9]+)/([^/]*)$`, Replacement: `/api/\2/\1`}}),
		filtered("/buffer", model.HTTPFilter{BufferBytes: 1000}))
	if p := m.publish(); len(p) > 0 {
		t.Fatal(p)
	}
	m.statusIs(451, m.http, "GET", "/closed")
	t.Run("direct", func(t *testing.T) {
		res, body := send(t, m.http, "GET", "/closed/x", "")
		if string(body) != long || res.Header.Get("Content-Type") != "text/html" || res.Header.Get("X-Why") != "100% law" {
			t.Errorf("%d bytes, %v", len(body), res.Header)
		}
		if res, _ := send(t, m.caller(other).HTTP(t, vip), "GET", "/closed/x", ""); res.StatusCode != 403 {
			t.Errorf("who may not call is answered %d", res.StatusCode)
		}
	})
	t.Run("compression", func(t *testing.T) {
		for _, tc := range []struct{ path, accept, want string }{
			{"/small", "gzip", "gzip"}, {"/small", "br", "br"}, {"/small", "zstd", "zstd"}, {"/small", "gzip;q=0.5, zstd", "zstd"},
			{"/small", "gzip, br, zstd", "br"}, {"/small", "identity", ""}, {"/plain", "gzip", "gzip"}, {"/gzip", "br", ""}, {"/gzip", "gzip", ""}, {"/other", "gzip", ""},
		} {
			res, _ := send(t, m.http, "GET", tc.path, "", "Accept-Encoding", tc.accept, "X-Fill", strings.Repeat("a", 500), "X-Type", "application/json")
			if tc.path == "/other" && res.StatusCode != 404 {
				t.Errorf("%s: %d", tc.path, res.StatusCode)
			}
			if got := res.Header.Get("Content-Encoding"); got != tc.want {
				t.Errorf("%s with Accept-Encoding %s: encoding %q, want %q; %v", tc.path, tc.accept, got, tc.want, res.Header)
			}
		}
	})
	t.Run("headers", func(t *testing.T) {
		_, e, h, err := ask(m.http, "GET", "/headers/a?b=c", "X-Secret", "1", "X-From", "%REQ(x)%", "X-Caller", "forged", "X-Seen", "first")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := e.Headers.Get("X-Caller"), "shop/frontend="+frontend; got != want {
			t.Errorf("X-Caller %q, want %q", got, want)
		}
		if got := strings.Join(e.Headers.Values("X-Seen"), ","); got != "first,GET /headers/a 5% $" {
			t.Errorf("X-Seen %q", got)
		}
		if e.Headers.Get("X-Secret") != "" || e.Headers.Get("X-Copy") != "<%REQ(x)%>" || e.Headers.Get("X-Id") != e.Headers.Get("X-Request-Id") {
			t.Errorf("headers %v", e.Headers)
		}
		if h.Get("X-Result") != "200 for cart" {
			t.Errorf("X-Result %q", h.Get("X-Result"))
		}
	})
	t.Run("path", func(t *testing.T) {
		for in, want := range map[string]string{"/v2/x?y=z": "/api/x/2?y=z", "/v2/x/y": "/v2/x/y"} {
			if _, e, _, err := ask(m.http, "GET", in); err != nil || e.Path != want {
				t.Errorf("%s became %s, want %s; %v", in, e.Path, want, err)
			}
		}
	})
	t.Run("buffer", func(t *testing.T) {
		for n, want := range map[int]int{900: 200, 1100: 413} {
			if res, _ := send(t, m.http, "POST", "/buffer", strings.Repeat("x", n)); res.StatusCode != want {
				t.Errorf("%d bytes: %d, want %d", n, res.StatusCode, want)
			}
		}
	})
}

// gRPC for clients that cannot: gRPC-Web from browsers, JSON from all.
func TestGRPCForOthers(t *testing.T) {
	m := newMesh(t)
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(healthpb.File_grpc_health_v1_health_proto)}}
	descriptors, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	to := []model.Backend{toPort(key, 90, 1)}
	web := model.RouteRule{Matches: []model.RouteMatch{{PathKind: model.PathPrefix, Path: "/", Headers: []model.NameMatch{{Name: "content-type", Value: "application/grpc-web.*", Regex: true}}}},
		Filters: []model.HTTPFilter{{Name: "shop/web", GRPCWeb: true}}, Backends: to}
	json := model.RouteRule{Filters: []model.HTTPFilter{{Name: "shop/json", Transcoding: &model.Transcoding{
		Descriptors: descriptors, Services: []string{"grpc.health.v1.Health"}, AutoMapping: true}}}, Backends: to}
	m.route("grpc", web, json).Port = 90
	m.publish()
	hc := m.client.HTTP(t, vipGRPC)
	m.eventually("JSON is taken", func() error {
		res, body := send(t, hc, "POST", "/grpc.health.v1.Health/Check", `{"service": ""}`, "Content-Type", "application/json")
		if res.StatusCode != 200 || !strings.Contains(string(body), `"SERVING"`) {
			return fmt.Errorf("%d %s %v", res.StatusCode, body, res.Header)
		}
		return nil
	})
	if res, body := send(t, hc, "POST", "/grpc.health.v1.Health/Check", `{"service": [`, "Content-Type", "application/json"); res.StatusCode != 400 {
		t.Errorf("JSON that does not fit: %d %s", res.StatusCode, body)
	}
	frame := []byte{0, 0, 0, 0, 0}
	res, body := send(t, hc, "POST", "/grpc.health.v1.Health/Check", string(frame), "Content-Type", "application/grpc-web+proto", "X-Grpc-Web", "1")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/grpc-web+proto" || len(body) < 7 {
		t.Fatalf("%d %v %q", res.StatusCode, res.Header, body)
	}
	n := binary.BigEndian.Uint32(body[1:5])
	answer := &healthpb.HealthCheckResponse{}
	if err := proto.Unmarshal(body[5:5+n], answer); err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("message %v, %v", answer, err)
	}
	if trailers := body[5+n:]; len(trailers) < 5 || trailers[0] != 0x80 || !bytes.Contains(trailers, []byte("grpc-status:0")) {
		t.Errorf("trailers in the body: %q", trailers)
	}
}

func TestCORS(t *testing.T) {
	m := newMesh(t)
	rule := func(prefix string, c model.CORS) model.RouteRule {
		return model.RouteRule{Matches: path(model.PathPrefix, prefix), CORS: &c, Backends: []model.Backend{backend(key, 1)}}
	}
	m.route("cors",
		rule("/some", model.CORS{Origins: []string{"https://shop.example", "https://*.shop.example:8443"}, Methods: []string{"GET", "PUT"}, Headers: []string{"x-a", "x-b"}, Expose: []string{"x-pod"}, MaxAge: 600}),
		rule("/any", model.CORS{Origins: []string{"*"}, Methods: []string{"*"}, Headers: []string{"*"}, Credentials: true}))
	m.publish()
	preflight := func(p, origin string) http.Header {
		before := m.pods[0].Requests.Load()
		res, _ := send(t, m.http, "OPTIONS", p, "", "Origin", origin, "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-a")
		if res.StatusCode != 200 || m.pods[0].Requests.Load() != before {
			t.Errorf("preflight of %s is answered %d, and the pod saw %d", p, res.StatusCode, m.pods[0].Requests.Load()-before)
		}
		return res.Header
	}
	m.statusIs(404, m.http, "GET", "/none")
	h := preflight("/some", "https://shop.example")
	for name, want := range map[string]string{"Allow-Origin": "https://shop.example", "Allow-Methods": "GET, PUT", "Allow-Headers": "x-a, x-b", "Max-Age": "600", "Allow-Credentials": ""} {
		if got := h.Get("Access-Control-" + name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for origin, ok := range map[string]bool{"https://a.b.shop.example:8443": true, "https://shop.example:443": true, "http://shop.example": false,
		"https://evilshop.example:8443": false, "https://shop.example.evil": false, "https://a.shop.example": false} {
		if got := preflight("/some", origin).Get("Access-Control-Allow-Origin"); (got == origin) != ok || !ok && got != "" {
			t.Errorf("origin %s: %q", origin, got)
		}
	}
	h = preflight("/any", "http://any.where")
	for name, want := range map[string]string{"Allow-Origin": "http://any.where", "Allow-Methods": "PUT", "Allow-Headers": "x-a", "Allow-Credentials": "true"} {
		if got := h.Get("Access-Control-" + name); got != want {
			t.Errorf("with credentials, %s: %q, want %q", name, got, want)
		}
	}
	res, _ := send(t, m.http, "GET", "/some", "", "Origin", "https://shop.example")
	if res.Header.Get("Access-Control-Allow-Origin") != "https://shop.example" || res.Header.Get("Access-Control-Expose-Headers") != "x-pod" || res.Header.Get("X-Pod") == "" {
		t.Errorf("the request itself: %v", res.Header)
	}
	res, _ = send(t, m.http, "GET", "/some", "", "Origin", "https://evil.example")
	if res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("of another origin: %d %v", res.StatusCode, res.Header)
	}
}
