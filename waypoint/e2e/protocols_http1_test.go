package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// methods answers what it was asked, as curl's writes of it are compared below.
func methods(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Method", r.Method)
	switch r.URL.Path {
	case "/204":
		w.WriteHeader(http.StatusNoContent)
	case "/304":
		w.Header().Set("Etag", `"a"`)
		w.WriteHeader(http.StatusNotModified)
	default:
		fmt.Fprintf(w, "%s %s %s %v %d", r.Proto, r.Method, r.Host, r.TransferEncoding, len(body))
	}
}

func TestHTTP1Clients(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(methods), model.AppHTTP)
	url := "http://" + addr
	for _, tc := range []struct {
		name, want string
		args       []string
	}{
		{"HTTP/1.0", "HTTP/1.1 GET " + addr + " [] 0", []string{"--http1.0", url}},
		{"HEAD", "200", []string{"-I", "-o", "/dev/null", "-w", "%{http_code}", url}},
		{"OPTIONS", "HTTP/1.1 OPTIONS " + addr + " [] 0", []string{"-X", "OPTIONS", url}},
		{"TRACE", "HTTP/1.1 TRACE " + addr + " [] 0", []string{"-X", "TRACE", url}},
		{"PROPFIND", "HTTP/1.1 PROPFIND " + addr + " [] 0", []string{"-X", "PROPFIND", url}},
		{"chunked", "HTTP/1.1 POST " + addr + " [chunked] 3", []string{"-H", "Transfer-Encoding: chunked", "-d", "abc", url}},
		{"204", "204 0", []string{"-w", "%{http_code} %{size_download}", url + "/204"}},
		{"304", "304 0", []string{"-w", "%{http_code} %{size_download}", url + "/304"}},
		{"HTTP/2", "HTTP/2.0 GET " + addr + " [] 0", []string{"--http2-prior-knowledge", url}},
		{"upgrade to h2c is not taken up", "HTTP/1.1 GET " + addr + " [] 0", []string{"--http2", url}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := curl(t, tc.args...); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	t.Run("HTTP/1.0 without Host", func(t *testing.T) {
		_, r := raw(t, addr, "GET / HTTP/1.0\r\n\r\n")
		status, fields := header(t, r)
		if !strings.HasSuffix(status, "200 OK") || strings.Contains(fields, "transfer-encoding") {
			t.Errorf("%s\n%s", status, fields)
		}
		if body, err := io.ReadAll(r); err != nil || !strings.HasPrefix(string(body), "HTTP/1.1 GET ") {
			t.Errorf("%q %v: an HTTP/1.0 answer ends with its connection", body, err)
		}
	})
	t.Run("CONNECT is refused", func(t *testing.T) {
		_, r := raw(t, addr, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
		if status, _ := header(t, r); !strings.Contains(status, " 404 ") && !strings.Contains(status, " 403 ") {
			t.Errorf("the waypoint is no open proxy, but answered %s", status)
		}
	})
	t.Run("no body twice", func(t *testing.T) { // bytes after HEAD and 304 belong to the next answer
		_, r := raw(t, addr, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for _, want := range []string{"HTTP/1.1 200 OK", "HTTP/1.1 304 Not Modified", "HTTP/1.1 200 OK"} {
			if status, _ := header(t, r); status != want {
				t.Errorf("got %s, want %s", status, want)
			}
		}
	})
}

// The application says whether it wants the body, not the waypoint.
func TestContinueIsTheApplications(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		body, _ := io.ReadAll(r.Body) // sends 100
		fmt.Fprintf(w, "got %d", len(body))
	}), model.AppHTTP)
	ask := func(path string) (net.Conn, *bufio.Reader) {
		return raw(t, addr, "PUT "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	}
	_, r := ask("/no")
	if status, _ := header(t, r); !strings.Contains(status, " 417 ") {
		t.Errorf("an application that does not want the body: %s", status)
	}
	c, r := ask("/yes")
	if status, _ := header(t, r); status != "HTTP/1.1 100 Continue" {
		t.Fatalf("one that does: %s", status)
	}
	if _, err := io.WriteString(c, "abc"); err != nil {
		t.Fatal(err)
	}
	if status, _ := header(t, r); !strings.Contains(status, " 200 ") {
		t.Errorf("after the body: %s", status)
	}
}

func TestEarlyHints(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "page")
	}), model.AppHTTP)
	_, r := raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	status, _ := header(t, r)
	if strings.Contains(status, " 103 ") {
		status, _ = header(t, r)
	} else {
		t.Log("the hint was left out, which RFC 9110 allows a proxy")
	}
	if !strings.Contains(status, " 200 ") {
		t.Errorf("after the hint: %s", status)
	}
}

// An answer that comes before the request is over reaches the client whole.
func TestEarlyAnswer(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 3))
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "enough")
	}), model.AppHTTP)
	_, r := raw(t, addr, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc")
	if status, _ := header(t, r); !strings.Contains(status, " 413 ") {
		t.Fatal(status)
	}
	body := make([]byte, 6)
	if _, err := io.ReadFull(r, body); err != nil || string(body) != "enough" {
		t.Errorf("%q %v", body, err)
	}
}

// What other protocols are begun by: containers are attached to by tcp and SPDY/3.1. Anything else is refused.
func TestUpgrades(t *testing.T) {
	m := newMesh(t)
	ln, err := net.Listen("tcp", netip.AddrPortFrom(m.pods[0].Addr, appPort).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r := bufio.NewReader(c)
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", req.Header.Get("Upgrade"))
				_, _ = io.Copy(c, r)
			}()
		}
	}()
	addr := m.behind(model.AppHTTP)
	for protocol, want := range map[string]string{"tcp": " 101 ", "SPDY/3.1": " 101 ", "websocket": " 101 ", "gopher": " 403 "} {
		c, r := raw(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: "+protocol+"\r\n\r\n")
		status, fields := header(t, r)
		if !strings.Contains(status, want) {
			t.Errorf("%s: %s\n%s", protocol, status, fields)
			continue
		}
		if want != " 101 " {
			continue
		}
		if _, err := io.WriteString(c, "ping\n"); err != nil {
			t.Fatal(err)
		}
		if got := line(t, r); got != "ping" {
			t.Errorf("%s: %q", protocol, got)
		}
	}
}

// Headers of 60 KiB pass both ways; what is longer than the limit is refused by name, not by a broken connection.
func TestLargeHeaders(t *testing.T) {
	m := newMesh(t)
	addr := m.app(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscan(r.Header.Get("X-Want"), &n)
		w.Header().Set("X-Got", fmt.Sprint(len(r.Header.Get("X-Large"))))
		w.Header().Set("X-Large", strings.Repeat("b", n))
		for i := range len(r.Header) {
			w.Header().Set(fmt.Sprintf("X-Count-%d", i), "1")
		}
	}), model.AppHTTP)
	get := func(send, receive, fields int) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Large", strings.Repeat("a", send))
		req.Header.Set("X-Want", fmt.Sprint(receive))
		for i := range fields {
			req.Header.Set(fmt.Sprintf("X-Field-%d", i), "1")
		}
		res, err := (&http.Client{Transport: &http.Transport{MaxResponseHeaderBytes: 1 << 20, DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	if res := get(60<<10, 60<<10, 150); res.StatusCode != 200 || res.Header.Get("X-Got") != fmt.Sprint(60<<10) || len(res.Header.Get("X-Large")) != 60<<10 {
		t.Errorf("60 KiB both ways, 150 fields: %d, the application got %s, the client %d", res.StatusCode, res.Header.Get("X-Got"), len(res.Header.Get("X-Large")))
	}
	if res := get(200<<10, 0, 0); res.StatusCode != 431 {
		t.Errorf("a request beyond the limit: %d", res.StatusCode)
	}
	if res := get(0, 200<<10, 0); res.StatusCode != 502 && res.StatusCode != 503 {
		t.Errorf("an answer beyond the limit: %d", res.StatusCode)
	}
}
