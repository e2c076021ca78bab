package launcher

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

func TestServesAndReports(t *testing.T) {
	w := start(t, nil)
	w.waitReady()
	if got := w.ctrl.node(); got != "waypoint~shop/wp~wp-0" {
		t.Errorf("node id %q", got)
	}
	c := w.client()
	res, err := c.HTTP(t, "10.96.0.1:80").Get("http://cart/hello")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Fatalf("status %d", res.StatusCode)
	}
	tun, err := c.Dial(context.Background(), "10.96.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := tun.Read(buf); err != nil || string(buf[:n]) != "220 cart-1\n" {
		t.Fatalf("banner %q %v", buf[:n], err)
	}
	has := func(what string, all ...string) {
		t.Helper()
		testmesh.Eventually(t, 20*time.Second, what, func() error {
			body := w.scrape()
			for l := range strings.SplitSeq(body, "\n") {
				if containsAll(l, all) {
					return nil
				}
			}
			return fmt.Errorf("no line with %q in\n%s", all, grep(body, "weft_"))
		})
	}
	has("the open connection is counted", "weft_tcp_connections_opened_total{", `destination_service="cart.shop.svc.cluster.local"`, `destination_workload="cart"`, `source_workload="frontend"`, "} 1")
	tun.Close()
	labels := []string{
		`reporter="waypoint"`, `source_workload="frontend"`, `source_workload_namespace="shop"`, `source_principal="` + caller + `"`,
		`destination_service="cart.shop.svc.cluster.local"`, `destination_workload="cart"`, `destination_principal="spiffe://cluster.local/ns/shop/sa/cart"`,
		`connection_security_policy="mutual_tls"`, `response_flags="-"`,
	}
	has("the request is counted", append(labels, "weft_requests_total{", `request_protocol="http"`, `response_code="200"`, "} 1")...)
	has("the request is timed", append(labels, "weft_request_duration_milliseconds_count{", "} 1")...)
	has("the closed connection is counted", append(labels[:7:7], "weft_tcp_connections_closed_total{", `request_protocol="tcp"`, "} 1")...)
	has("its bytes are counted", append(labels[:7:7], "weft_tcp_received_bytes_total{", "} 11")...)
	w.checkLog("http", func(l line) string {
		switch {
		case l.Code != 200, l.Path != "/hello", l.SrcID != caller, l.DstID != "spiffe://cluster.local/ns/shop/sa/cart":
			return "wrong request or identities"
		case l.SrcAddr != "10.244.9.9:4242", l.Dialled != "10.96.0.1:80", l.Flags != "-", l.SrcName != "shop/frontend", l.DstName != "shop/cart":
			return "wrong addresses, flags or workloads"
		}
		return ""
	})
	w.checkLog("tcp", func(l line) string {
		if l.SrcID != caller || l.Dialled != "10.96.0.1:9000" || l.Received != 11 {
			return "wrong"
		}
		return ""
	})
}

// checkLog finds the first log line of a protocol.
func (w *world) checkLog(protocol string, wrong func(line) string) {
	w.t.Helper()
	testmesh.Eventually(w.t, 20*time.Second, "a log line of "+protocol, func() error {
		for _, s := range strings.Split(w.out.String(), "\n") {
			var l line
			if json.Unmarshal([]byte(s), &l) == nil && l.Protocol == protocol {
				if why := wrong(l); why != "" {
					w.t.Fatalf("%s: %s", why, s)
				}
				return nil
			}
		}
		return fmt.Errorf("log:\n%s", w.out.String())
	})
}

// A short-lived certificate is renewed under a running tunnel: new handshakes see the new one.
func TestRenewsCertificate(t *testing.T) {
	w := start(t, func(o *Options) { o.CertTTL = 30 * time.Second })
	w.waitReady()
	tun, err := w.client().Dial(context.Background(), "10.96.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	first, err := w.serial()
	if err != nil {
		t.Fatal(err)
	}
	testmesh.Eventually(t, 40*time.Second, "another certificate is served", func() error {
		now, err := w.serial()
		if err == nil && now == first {
			err = fmt.Errorf("still the first; %d issued", w.issuer.count())
		}
		return err
	})
	if _, err := tun.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, 64)
	buf := make([]byte, 64)
	for !bytes.Contains(got, []byte("still here")) {
		n, err := tun.Read(buf)
		if err != nil {
			t.Fatalf("the running tunnel broke: %v", err)
		}
		got = append(got, buf[:n]...)
	}
}

// serial is that of the certificate shown to new handshakes.
func (w *world) serial() (string, error) {
	cfg := w.ca.ClientTLS(w.ca.Pair(caller), self)
	c, err := tls.Dial("tcp", netip.AddrPortFrom(w.addr(1), 15008).String(), cfg)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func TestDrainsAndEnds(t *testing.T) {
	w := start(t, func(o *Options) { o.Drain = 10 * time.Second })
	w.waitReady()
	c := w.client()
	hc := c.HTTP(t, "10.96.0.1:80")
	slow := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		res, err := hc.Get("http://cart/sleep/1500")
		if err == nil {
			res.Body.Close()
			if res.StatusCode != 200 {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
		}
		slow <- err
	}()
	<-began
	testmesh.Eventually(t, 20*time.Second, "the slow request is under way", func() error {
		if w.pod.Tunnels.Load() == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	w.stop()
	testmesh.Eventually(t, 15*time.Second, "readiness ends first", func() error {
		if err := w.isReady(); err == nil {
			return fmt.Errorf("still ready")
		}
		return nil
	})
	if err := <-slow; err != nil {
		t.Errorf("a request under way was cut: %v", err)
	}
	c.Close()
	select {
	case err := <-w.done:
		w.done = nil
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("did not end")
	}
}

func TestStartsEnvoyAgain(t *testing.T) {
	w := start(t, nil)
	w.waitReady()
	// /quitquitquit by somebody else is an unexpected end like any other.
	matches, err := filepath.Glob(filepath.Join(os.TempDir(), "wft-launch-*", "*", "admin.sock"))
	if err != nil || len(matches) == 0 {
		t.Fatalf("no admin socket: %v", err)
	}
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", matches[0])
	}}}
	res, err := hc.Post("http://envoy/quitquitquit", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	testmesh.Eventually(t, 20*time.Second, "the restart is counted", func() error {
		if body := w.scrape(); !strings.Contains(body, "weft_waypoint_envoy_restarts_total 1\n") {
			return fmt.Errorf("%s", grep(body, "weft_waypoint_envoy_restarts"))
		}
		return nil
	})
	testmesh.Eventually(t, 20*time.Second, "another Envoy serves", func() error {
		res, err := w.client().HTTP(t, "10.96.0.1:80").Get("http://cart/")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != 200 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	})
	w.waitReady()
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no gateway":    {Controller: "x:1", RootFile: "/r"},
		"bad gateway":   {Gateway: "wp", Controller: "x:1", RootFile: "/r"},
		"no controller": {Gateway: "a/b"},
		"no root file":  {Gateway: "a/b", Controller: "x:1", RootFile: "/does/not/exist", RunDir: t.TempDir(), Envoy: "/bin/true"},
		"no envoy":      {Gateway: "a/b", Controller: "x:1", RootFile: "/r", Envoy: "/does/not/exist"},
		"long run dir":  {Gateway: "a/b", Controller: "x:1", RootFile: "/r", Envoy: "/bin/true", RunDir: filepath.Join(t.TempDir(), strings.Repeat("x", 100))},
	} {
		if err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
