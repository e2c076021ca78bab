package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// appPort is where app listens, and the service port before it.
const appPort = 7000

// app serves a handler, by HTTP/1.1 and by HTTP/2 without TLS, behind a service port of its own, and returns a
// local address that leads there through the waypoint.
func (m *mesh) app(h http.Handler, declared model.AppProtocol) string {
	m.t.Helper()
	pod := m.pods[0]
	ln, err := net.Listen("tcp", netip.AddrPortFrom(pod.Addr, appPort).String())
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: &http.Protocols{}, ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 1 << 20}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(ln) }()
	m.t.Cleanup(func() { srv.Close() })
	return m.behind(declared)
}

// behind makes the service port before appPort.
func (m *mesh) behind(declared model.AppProtocol) string {
	m.t.Helper()
	s := m.snap.Services[key]
	s.Ports = append(s.Ports, model.Port{ServicePort: appPort, TargetPort: appPort, App: declared})
	m.workload(m.pods[0], "cart", pods)
	m.publish()
	addr := m.forward("10.96.0.1:" + fmt.Sprint(appPort))
	m.eventually("the port is open", func() error {
		tun, err := m.client.Dial(context.Background(), "10.96.0.1:"+fmt.Sprint(appPort))
		if err != nil {
			return err
		}
		return tun.Close()
	})
	return addr
}

// forward listens for clients that know nothing of tunnels.
func (m *mesh) forward(authority string) string {
	m.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go m.splice(c.(*net.TCPConn), authority)
		}
	}()
	return ln.Addr().String()
}

func (m *mesh) splice(c *net.TCPConn, authority string) {
	defer c.Close()
	tun, err := m.client.Dial(context.Background(), authority)
	if err != nil {
		return
	}
	defer tun.Close()
	go func() {
		if _, err := io.Copy(tun, c); err != nil {
			tun.Close()
			return
		}
		_ = tun.CloseWrite()
	}()
	_, _ = io.Copy(c, tun)
}

// curl runs the program that people use.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no curl: install it")
		}
		t.Skip("no curl: install it")
	}
	out, err := exec.Command(path, append([]string{"-sS", "--max-time", "20", "--noproxy", "*"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// raw writes bytes to a new connection and returns what comes, line by line.
func raw(t *testing.T, addr, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("after %q: %v", s, err)
	}
	return strings.TrimRight(s, "\r\n")
}

// header reads a response's head: the status line, and the rest in lower case.
func header(t *testing.T, r *bufio.Reader) (status, fields string) {
	t.Helper()
	status = line(t, r)
	for {
		l := line(t, r)
		if l == "" {
			return status, strings.ToLower(fields)
		}
		fields += l + "\n"
	}
}
