package xds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// Whatever a client says, its own stream ends or the words are passed over; the neighbour is served on.
func TestServerTakesGarbage(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a"))
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	neighbour := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n2"}))
	neighbour.subscribe("ztunnel~n2", wire.TypeAddress, nil)
	neighbour.ack(neighbour.recv())
	node := &corev3.Node{Id: "ztunnel~n1"}

	ends := func(name string, code codes.Code, requests ...*discoveryv3.DeltaDiscoveryRequest) {
		t.Run(name, func(t *testing.T) {
			p := openPlain(t, conn)
			for _, q := range requests {
				_ = p.stream.Send(q)
			}
			if err := p.err(); grpcstatus.Code(err) != code {
				t.Errorf("the stream ended with %v, want %v", err, code)
			}
		})
	}
	ends("no type", codes.PermissionDenied, &discoveryv3.DeltaDiscoveryRequest{Node: node})
	ends("unknown type", codes.PermissionDenied, &discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: "type.googleapis.com/no.Such"})
	ends("no node asks for Envoy's", codes.PermissionDenied, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster"})
	ends("too large", codes.ResourceExhausted, &discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: wire.TypeAddress,
		InitialResourceVersions: map[string]string{"x": strings.Repeat("x", maxRequest)}})

	t.Run("state of the world", func(t *testing.T) {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: wire.TypeAddress})
		if resp, err := stream.Recv(); err == nil || !strings.Contains(err.Error(), "delta") {
			t.Errorf("got %v, %v; want an error that says what is served", resp, err)
		}
	})
	t.Run("not a message", func(t *testing.T) {
		desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		stream, err := conn.NewStream(t.Context(), desc, discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodec(rawCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.SendMsg(bytes.Repeat([]byte{0xff}, 100))
		var out []byte
		if err := stream.RecvMsg(&out); err == nil {
			t.Errorf("it was answered with %q", out)
		}
	})
	t.Run("odd answers", func(t *testing.T) {
		p := openPlain(t, conn)
		p.subscribe("ztunnel~n1", wire.TypeAddress, map[string]string{"no-such": "v", "": "", "\x00place": "7"})
		first := p.recv()
		p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: "never sent", ErrorDetail: &status.Status{Message: "no"}})
		p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: first.GetNonce()})
		p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: first.GetNonce()}) // twice
		p.subscribe("", wire.TypeAuthorization, nil)
		if got := p.recv().GetTypeUrl(); got != wire.TypeAuthorization {
			t.Errorf("afterwards it was sent %s", got)
		}
		p.cancel()
	})

	s.SetSnapshot(mesh("a=2"))
	expect(t, neighbour.recv(), "a")
	for _, c := range s.Clients() {
		if c.NodeID == "ztunnel~n2" && c.Types[wire.TypeAddress].NACKs != 0 {
			t.Error("the neighbour is said to have refused something")
		}
	}
}

// Who does not speak TLS 1.3, or shows a certificate that is not of this mesh, does not get in.
func TestBadHandshakesOnThePort(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a"))
	certificate := func(change func(*x509.Certificate)) []tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/weft-system/sa/weft-ztunnel"}}}
		change(tmpl)
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	}
	for name, tc := range map[string]struct {
		config *tls.Config
		want   string
	}{
		"TLS 1.2":            {&tls.Config{MaxVersion: tls.VersionTLS12}, "protocol version"},
		"other protocol":     {&tls.Config{NextProtos: []string{"spdy"}}, "no application protocol"},
		"self-signed":        {&tls.Config{Certificates: certificate(func(*x509.Certificate) {})}, "bad certificate"},
		"expired":            {&tls.Config{Certificates: certificate(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}, "bad certificate"},
		"other trust domain": {&tls.Config{Certificates: certificate(func(c *x509.Certificate) { c.URIs[0].Host = "other.example" })}, "bad certificate"},
		"none, as it may be": {&tls.Config{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := tc.config.Clone()
			c.RootCAs = r.authority.Pool()
			if c.NextProtos == nil {
				c.NextProtos = []string{"h2"}
			}
			conn, err := tls.Dial("tcp", at, c)
			if err == nil {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
				_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 a refusal of the certificate comes after the handshake
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		res, err := http.Get("http://" + at + "/")
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("answered %s", res.Status)
		}
	})
}
