// The deprecated parts of x/net are what other programs are made of.
//
//nolint:staticcheck
package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/pkg/hbone"
)

// duplex is a CONNECT of net/http's: the request's body and the response's.
type duplex struct {
	io.Reader
	io.Writer
}

func connect(t *testing.T, tr *http2.Transport, addr, authority string) (duplex, *io.PipeWriter, *http.Response) {
	t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequest("CONNECT", "https://"+addr, r)
	must(t, err)
	req.Host = authority
	res, err := tr.RoundTrip(req)
	must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return duplex{res.Body, w}, w, res
}

// golang.org/x/net's client, many streams at once on one connection.
func TestXNetClient(t *testing.T) {
	m := newMesh(t)
	tr := &http2.Transport{TLSClientConfig: m.clientTLS()}
	defer tr.CloseIdleConnections()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			d, w, res := connect(t, tr, m.addr, "10.0.0.1:80")
			if res.StatusCode != 200 {
				t.Errorf("status %v", res.Status)
				return
			}
			exchange(t, d, w.Close)
		})
	}
	wg.Wait()
	_, _, res := connect(t, tr, m.addr, "10.9.9.9:1")
	if res.StatusCode != 503 || res.Header.Get("x-weft-reason") != "nobody there" {
		t.Errorf("%v %v", res.Status, res.Header)
	}
	res, err := (&http.Client{Transport: tr}).Get("https://" + m.addr + "/")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("GET: %v", res.Status)
	}
}

// golang.org/x/net's server. It ends a stream when its handler returns, or aborts it when that panics.
func TestXNetServer(t *testing.T) {
	m := newMesh(t)
	l := listen(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{m.leaf(serverID)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.roots, NextProtos: []string{"h2"}}
	go accept(l, func(c net.Conn) {
		s := tls.Server(c, cfg)
		if s.Handshake() == nil {
			new(http2.Server).ServeConn(s, &http2.ServeConnOpts{Handler: http.HandlerFunc(xnetEcho)})
		}
	})
	p, k := m.pool(t, l.Addr().String())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s, err := p.Open(context.Background(), k, "10.0.0.1:80", nil)
			if err != nil {
				t.Error(err)
				return
			}
			exchange(t, s, s.CloseWrite)
			s.Close()
		})
	}
	wg.Wait()
	s, err := p.Open(context.Background(), k, "abort:1", nil)
	must(t, err)
	if _, err = io.ReadAll(s); !errors.Is(err, hbone.ErrReset) {
		t.Errorf("an aborted stream ended with %v", err)
	}
	var refused *hbone.RefusedError
	if _, err = p.Open(context.Background(), k, "teapot:1", nil); !errors.As(err, &refused) || refused.Status != 418 {
		t.Errorf("got %v", err)
	}
}

func xnetEcho(w http.ResponseWriter, r *http.Request) {
	if r.Host == "teapot:1" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	if r.Host == "abort:1" {
		panic(http.ErrAbortHandler)
	}
	b := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(b)
		w.Write(b[:n])
		w.(http.Flusher).Flush()
		if err != nil {
			return
		}
	}
}
