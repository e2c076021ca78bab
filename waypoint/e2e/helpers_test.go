package e2e

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
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

// field of a log entry, by its number.
func field(e *accesslogv3.HTTPAccessLogEntry, n int) string {
	all := strings.Split(e.GetCommonProperties().GetCustomTags()[translate.LogTag], translate.LogSeparator)
	if len(all) != translate.LogFields {
		return ""
	}
	return all[n]
}
