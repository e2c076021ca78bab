package testmesh

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Client speaks HBONE to one waypoint as a ztunnel does.
type Client struct {
	addr string
	cfg  *tls.Config

	// Forwarded is the header of every CONNECT; "" none.
	Forwarded string
	// Baggage is the header of every CONNECT; "" none.
	Baggage string

	mu sync.Mutex // guards cc
	cc *http.ClientConn
}

// NewClient is a caller with a certificate. The waypoint at addr has to show the SPIFFE URI expect.
func NewClient(t testing.TB, ca *CA, own tls.Certificate, addr, expect string) *Client {
	t.Helper()
	return NewClientTLS(t, addr, ca.ClientTLS(own, expect))
}

// NewClientTLS is NewClient with a configuration from elsewhere.
func NewClientTLS(t testing.TB, addr string, cfg *tls.Config) *Client {
	t.Helper()
	c := &Client{addr: addr, cfg: cfg}
	t.Cleanup(c.Close)
	return c
}

// Close ends the client's connection with all its tunnels.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cc != nil {
		c.cc.Close()
	}
}

func (c *Client) conn() (*http.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cc != nil && c.cc.Err() == nil && c.cc.Available() > 0 {
		return c.cc, nil
	}
	tr := &http.Transport{TLSClientConfig: c.cfg, Protocols: &http.Protocols{}, TLSHandshakeTimeout: 3 * time.Second}
	tr.Protocols.SetHTTP2(true)
	cc, err := tr.NewClientConn(context.Background(), "https", c.addr)
	if err != nil {
		return nil, err
	}
	c.cc = cc
	return cc, nil
}

// RefusedError is a CONNECT that was answered with something else than 200.
type RefusedError struct {
	Code int
	Body string
}

func (e *RefusedError) Error() string { return fmt.Sprintf("CONNECT answered %d %s", e.Code, e.Body) }

// Tunnel is one CONNECT stream.
type Tunnel struct {
	io.Reader
	w    *io.PipeWriter
	body io.Closer
}

func (t *Tunnel) Write(b []byte) (int, error)      { return t.w.Write(b) }
func (t *Tunnel) CloseWrite() error                { return t.w.Close() }
func (t *Tunnel) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (t *Tunnel) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (t *Tunnel) SetDeadline(time.Time) error      { return nil }
func (t *Tunnel) SetReadDeadline(time.Time) error  { return nil }
func (t *Tunnel) SetWriteDeadline(time.Time) error { return nil }

// Close ends the stream.
func (t *Tunnel) Close() error {
	_ = t.w.Close()
	return t.body.Close()
}

// Dial opens a tunnel to address:port.
func (c *Client) Dial(ctx context.Context, authority string) (*Tunnel, error) {
	cc, err := c.conn()
	if err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	h := http.Header{}
	if c.Forwarded != "" {
		h.Set("Forwarded", c.Forwarded)
	}
	if c.Baggage != "" {
		h.Set("Baggage", c.Baggage)
	}
	req := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Host: authority}, Host: authority, Header: h, Body: pr, ContentLength: -1}).WithContext(ctx)
	res, err := cc.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		res.Body.Close()
		return nil, &RefusedError{res.StatusCode, string(b)}
	}
	return &Tunnel{Reader: res.Body, w: pw, body: res.Body}, nil
}

// HTTP is an HTTP/1.1 client whose connections all go to authority, whatever the URL says.
func (c *Client) HTTP(t testing.TB, authority string) *http.Client {
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		// A pooled connection outlives the request that opened it.
		return c.Dial(context.Background(), authority)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport: tr, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
