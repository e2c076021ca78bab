package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// h2c speaks HTTP/2 without TLS through a tunnel.
func h2c(c *testmesh.Client, authority string) http.RoundTripper {
	return &http2.Transport{AllowHTTP: true, DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) {
		return c.Dial(context.Background(), authority)
	}}
}

// h2tls speaks HTTP/2 straight to the HBONE port.
func h2tls(cfg *tls.Config) http.RoundTripper { return &http2.Transport{TLSClientConfig: cfg} }
