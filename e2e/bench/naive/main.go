// Command weft-naive is a peer for the benchmark: the tunnel that one writes in an afternoon with
// golang.org/x/net/http2, one CONNECT stream for each connection over a shared mutual TLS connection.
//
//	weft-naive client -listen 127.0.0.1:15203 -peer 10.244.2.2:15403 -dir CERTS
//	weft-naive server -listen :15403 -app 127.0.0.1:9000 -dir CERTS
//
// CERTS holds ca.pem, cert.pem and key.pem.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/net/http2"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: weft-naive client|server [flags]")
		os.Exit(2)
	}
	fs := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	listen := fs.String("listen", "", "address to listen on")
	peer := fs.String("peer", "", "the server's address (client)")
	app := fs.String("app", "", "the application's address (server)")
	dir := fs.String("dir", ".", "folder of ca.pem, cert.pem, key.pem")
	_ = fs.Parse(os.Args[2:])
	conf, err := tlsConfig(*dir)
	if err == nil {
		if os.Args[1] == "client" {
			err = client(*listen, *peer, conf)
		} else {
			err = server(*listen, *app, conf)
		}
	}
	fmt.Fprintln(os.Stderr, "weft-naive:", err)
	os.Exit(1)
}

func tlsConfig(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("ca.pem holds no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: "bench", MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
	}, nil
}

func client(listen, peer string, conf *tls.Config) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	t := &http2.Transport{TLSClientConfig: conf, MaxReadFrameSize: 1 << 20} //nolint:staticcheck // x/net/http2 is what is measured
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			body, w := io.Pipe()
			req, _ := http.NewRequest(http.MethodConnect, "https://"+peer, body)
			resp, err := t.RoundTrip(req) //nolint:staticcheck // see above
			if err != nil {
				fmt.Fprintln(os.Stderr, "weft-naive:", err)
				return
			}
			defer resp.Body.Close()
			go func() {
				_, err := io.CopyBuffer(w, struct{ io.Reader }{c}, make([]byte, 64<<10))
				w.CloseWithError(err)
			}()
			_, _ = io.CopyBuffer(struct{ io.Writer }{c}, resp.Body, make([]byte, 64<<10))
		}()
	}
}

func server(listen, app string, conf *tls.Config) error {
	l, err := tls.Listen("tcp", listen, conf)
	if err != nil {
		return err
	}
	s := &http2.Server{MaxConcurrentStreams: 20000, MaxUploadBufferPerStream: 1 << 20, MaxUploadBufferPerConnection: 4 << 20, MaxReadFrameSize: 1 << 20} //nolint:staticcheck // x/net/http2 is what is measured
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			if err := c.(*tls.Conn).Handshake(); err != nil {
				fmt.Fprintln(os.Stderr, "weft-naive:", err)
				_ = c.Close()
				return
			}
			s.ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tunnel(w, r, app) })}) //nolint:staticcheck // see above
		}()
	}
}

func tunnel(w http.ResponseWriter, r *http.Request, app string) {
	c, err := net.Dial("tcp", app)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer c.Close()
	w.WriteHeader(http.StatusOK)
	flusher := http.NewResponseController(w)
	_ = flusher.Flush()
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, r.Body, make([]byte, 64<<10))
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = flusher.Flush()
		}
		if err != nil {
			return
		}
	}
}
