package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"

	istio "istio.io/istio/pkg/hbone"

	"github.com/weftmesh/weft/pkg/hbone"
)

// Istio's client speaks to our server.
func TestIstioClient(t *testing.T) {
	m := newMesh(t)
	d := istio.NewDialer(istio.Config{ProxyAddress: m.addr, TLS: m.clientTLS()})
	for range 3 {
		c, err := d.Dial("tcp", "10.0.0.1:80")
		must(t, err)
		exchange(t, c, nil)
		c.Close()
	}
	if _, err := d.Dial("tcp", "10.9.9.9:1"); err == nil {
		t.Error("a refused CONNECT succeeded")
	}
	if st := m.server.Stats(); st.Streams != 4 || st.StreamsRefused != 1 || st.Conns != 1 {
		t.Errorf("%+v", st)
	}
}

// Our client speaks to Istio's server.
func TestIstioServer(t *testing.T) {
	m := newMesh(t)
	srv := istio.NewServer()
	srv.Protocols.SetHTTP2(true)
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{m.leaf(serverID)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.roots, MinVersion: tls.VersionTLS13}
	l := listen(t)
	go srv.ServeTLS(l, "", "")
	t.Cleanup(func() { srv.Close() })
	p, k := m.pool(t, l.Addr().String())
	for range 3 {
		s, err := p.Open(context.Background(), k, m.app.Addr().String(), hbone.Header{{Name: "baggage", Value: "service.name=frontend"}})
		must(t, err)
		exchange(t, s, s.CloseWrite)
		s.Close()
	}
	if n := p.Stats().Conns; n != 1 {
		t.Errorf("%d connections for three streams", n)
	}
	k.SANs = hbone.MakeSANSet("spiffe://cluster.local/ns/shop/sa/payments")
	if _, err := p.Open(context.Background(), k, m.app.Addr().String(), nil); !errors.Is(err, hbone.ErrPeerIdentity) {
		t.Errorf("the wrong peer: %v", err)
	}
}
