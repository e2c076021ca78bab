package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// h2c speaks HTTP/2 without TLS through a tunnel.
func h2c(c *testmesh.Client, authority string) http.RoundTripper {
	tr := &http.Transport{Protocols: &http.Protocols{}, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return c.Dial(context.Background(), authority)
	}}
	tr.Protocols.SetUnencryptedHTTP2(true)
	return tr
}

// h2tls speaks HTTP/2 straight to the HBONE port.
func h2tls(cfg *tls.Config) http.RoundTripper {
	tr := &http.Transport{TLSClientConfig: cfg, Protocols: &http.Protocols{}}
	tr.Protocols.SetHTTP2(true)
	return tr
}
