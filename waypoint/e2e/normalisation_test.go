package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	slashpath "path"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/pkg/model"
)

// normalised is what becomes of paths that try to get past policies: what the application saw, or the status
// of whoever refused the request. Three services get each: one without policies; "denied", with a DENY of
// /admin/{**}; "allowed", with an ALLOW of /public/*.
var normalised = []struct{ raw, seen, denied, allowed string }{
	{"/admin", "/admin", "403", "403"},
	{"/public/x", "/public/x", "/public/x", "/public/x"},
	{"/public/x?y=/../admin", "/public/x?y=/../admin", "/public/x?y=/../admin", "/public/x?y=/../admin"},
	{"//admin", "/admin", "403", "403"},
	{"/public//../admin", "/public/admin", "/public/admin", "/public/admin"},
	{"/public/../admin", "/admin", "403", "403"},
	{"/public/./../admin", "/admin", "403", "403"},
	{"/public/%2e%2e/admin", "/admin", "403", "403"},
	{"/public/%2E%2e/admin", "/admin", "403", "403"},
	{"/public/.%2e/admin", "/admin", "403", "403"},
	{"/%61dmin", "/admin", "403", "403"},
	{"/adm%49n", "/admIn", "403", "403"},
	{"/public/..%2fadmin", "307", "307", "307"},
	{"/public%2f..%2fadmin", "307", "307", "307"},
	{"/public/..%5cadmin", "307", "307", "307"},
	{"/public/..\\admin", "/admin", "403", "403"},
	{"\\admin", "400", "400", "400"},
	{"/public/%252e%252e/admin", "/public/%252e%252e/admin", "/public/%252e%252e/admin", "/public/%252e%252e/admin"},
	{"/ADMIN", "/ADMIN", "403", "403"},
	{"/Public/x", "/Public/x", "/Public/x", "403"},
	{"/admin/", "/admin/", "403", "403"},
	{"/admin;x=1", "/admin;x=1", "403", "403"},
	{"/admin;x=1/users", "/admin;x=1/users", "403", "403"},
	{"/admin%3bx", "/admin%3bx", "403", "403"},
	{"/public/..;/admin", "/admin", "403", "403"},
	{"/public/..;x=1/admin", "/admin", "403", "403"},
	{"/public/%2e%2e;/admin", "/public/..;/admin", "403", "403"},
	{"/public/..%3b/admin", "/public/..%3b/admin", "403", "403"},
	{"/public/.;/admin", "/public/admin", "/public/admin", "/public/admin"},
	{"/public/x;y=1", "/public/x;y=1", "/public/x;y=1", "/public/x;y=1"},
	{"/public/%c0%ae%c0%ae/admin", "/public/%c0%ae%c0%ae/admin", "403", "403"},
	{"/public/%zz", "", "403", "403"}, // alone, an application says what it likes
	{"/admin%00", "400", "400", "400"},
	{"/public/%00/../../admin", "400", "400", "400"},
	{"/admin#x", "400", "400", "400"},
	{"/public/#/../../admin", "400", "400", "400"},
	{"http://cart/public/../admin", "/admin", "403", "403"},
	{"http://evil/public/x", "/public/x", "/public/x", "/public/x"},
	{"http://cart", "/", "/", "403"},
	{"admin", "400", "400", "400"},
	{"*", "400", "400", "400"},
}

const (
	normalPort  = 7000
	vipDenied   = "10.96.0.2:85"
	vipAllowed  = "10.96.0.3:85"
	vipUnjudged = "10.96.0.4:85"
)

func TestNormalisation(t *testing.T) {
	m := newMesh(t)
	for i, name := range []string{"denied", "allowed", "unjudged"} {
		s := m.service(name, fmt.Sprintf("10.96.0.%d", i+2))
		s.Ports = append(s.Ports, model.Port{ServicePort: 85, TargetPort: normalPort, App: model.AppHTTP})
		m.rawApp(m.pod(name, pods).Addr, normalPort)
	}
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Service: "shop/denied.shop.svc.cluster.local",
		Rules: []model.L7Rule{{To: []model.L7Operation{{Paths: paths("/admin/{**}")}}}}})
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Service: "shop/allowed.shop.svc.cluster.local",
		Rules: []model.L7Rule{{To: []model.L7Operation{{Paths: paths("/public/*")}}}}})
	m.publish()
	for authority, want := range map[string]string{vipDenied: "403", vipAllowed: "403", vipUnjudged: "/admin"} {
		m.eventually(authority+" is served", func() error {
			if got, err := m.overHTTP1(authority, "/admin"); err != nil || got != want {
				return fmt.Errorf("%s %v", got, err)
			}
			return nil
		})
	}
	for _, tc := range normalised {
		for authority, want := range map[string]string{vipUnjudged: tc.seen, vipDenied: tc.denied, vipAllowed: tc.allowed} {
			for proto, send := range map[string]func(string, string) (string, error){"HTTP/1.1": m.overHTTP1, "HTTP/2": m.overHTTP2} {
				if want == "" || proto == "HTTP/2" && !strings.HasPrefix(tc.raw, "/") {
					continue // not a :path
				}
				got, err := send(authority, tc.raw)
				if err != nil || got != want {
					t.Errorf("%s %s to %s: %s %v, want %s", proto, tc.raw, authority, got, err, want)
				}
				meant := sloppy(got)
				if authority == vipDenied && (meant == "/admin" || strings.HasPrefix(meant, "/admin/")) {
					t.Errorf("%s %s: a sloppy application serves %s", proto, tc.raw, meant)
				}
				if authority == vipAllowed && strings.HasPrefix(got, "/") && !strings.HasPrefix(meant, "/public/") {
					t.Errorf("%s %s: a sloppy application serves %s", proto, tc.raw, meant)
				}
			}
		}
	}
}

// sloppy reads a path as the most obliging application would: no case, no parameters, escapes once.
func sloppy(p string) string {
	p, _, _ = strings.Cut(p, "?")
	if u, err := url.PathUnescape(p); err == nil {
		p = u
	}
	parts := strings.Split(strings.ReplaceAll(strings.ToLower(p), "\\", "/"), "/")
	for i := range parts {
		parts[i], _, _ = strings.Cut(parts[i], ";")
	}
	return slashpath.Clean(strings.Join(parts, "/"))
}

// rawApp answers with the request target as it came.
func (m *mesh) rawApp(addr netip.Addr, port uint16) {
	m.t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(addr, port).String())
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Protocols: &http.Protocols{}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RequestURI)
	})}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	m.t.Cleanup(func() { srv.Close() })
}

// overHTTP1 sends a request target as it is, and returns what the application saw, or the status.
func (m *mesh) overHTTP1(authority, target string) (string, error) {
	c, err := m.client.Dial(context.Background(), authority)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: cart\r\nConnection: close\r\n\r\n", target); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return seen(res.StatusCode, body), err
}

func seen(code int, body []byte) string {
	if code == http.StatusOK {
		return string(body)
	}
	return fmt.Sprint(code)
}

// overHTTP2 is overHTTP1 in frames, for no client library would send such paths.
func (m *mesh) overHTTP2(authority, target string) (string, error) {
	c, err := m.client.Dial(context.Background(), authority)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return "", err
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		return "", err
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "cart"}, {":path", target}} {
		if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return "", err
		}
	}
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}); err != nil {
		return "", err
	}
	return readStream(f)
}

func readStream(f *http2.Framer) (string, error) {
	code, body := 0, []byte(nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return "", err
		}
		switch fr := frame.(type) {
		case *http2.MetaHeadersFrame:
			_, _ = fmt.Sscan(fr.PseudoValue("status"), &code)
		case *http2.DataFrame:
			body = append(body, fr.Data()...)
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "400", nil // Envoy's answer to what is no HTTP/2 request
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				if err := f.WriteSettingsAck(); err != nil {
					return "", err
				}
			}
		}
		if h := frame.Header(); h.StreamID == 1 && h.Flags.Has(http2.FlagDataEndStream) {
			return seen(code, body), nil
		}
	}
}
