package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/waypoint/bootstrap"
)

// envoyConfig is an Envoy as people write it by hand, nothing of our translation: "in" ends tunnels and
// sends their bytes to the application, "out" sends what it accepts through a tunnel to our server.
var envoyConfig = template.Must(template.New("envoy").Parse(`
admin: {address: {pipe: {path: "{{.Dir}}/admin.sock"}}}
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context: &tls
            alpn_protocols: [h2]
            tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3} # an Envoy offers at most 1.2 unless told
            tls_certificates: [{certificate_chain: {filename: "{{.Cert}}"}, private_key: {filename: "{{.Key}}"}}]
            validation_context: {trusted_ca: {filename: "{{.CA}}"}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          codec_type: HTTP2
          http2_protocol_options: {allow_connect: true}
          upgrade_configs: [{upgrade_type: CONNECT}]
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {exact: "10.9.9.9:1"}}]}
                direct_response: {status: 503}
              - match: {connect_matcher: {}}
                route: {cluster: app, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
  - name: out
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: out
          cluster: ours
          tunneling_config: {hostname: "10.0.0.1:80", headers_to_add: [{header: {key: baggage, value: service.name=frontend}}]}
  - name: nowhere
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: nowhere
          cluster: ours
          tunneling_config: {hostname: "10.9.9.9:1"}
  clusters:
  - name: app
    load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.AppPort}} }}}}]}]}
  - name: ours
    load_assignment: {cluster_name: ours, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{.OurPort}} }}}}]}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {allow_connect: true}}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: *tls
`))

// startEnvoy returns the addresses of Envoy's listeners by name.
func (m *mesh) startEnvoy() map[string]string {
	m.t.Helper()
	binary, err := bootstrap.FindEnvoy("")
	if err != nil && os.Getenv("CI") != "true" {
		m.t.Skip(err)
	}
	must(m.t, err)
	dir, err := os.MkdirTemp("", "wft-interop-") // short: the path of a unix socket has at most 107 bytes
	must(m.t, err)
	m.t.Cleanup(func() { os.RemoveAll(dir) })
	ca, cert, key := m.files()
	_, appPort, _ := net.SplitHostPort(m.app.Addr().String())
	_, ourPort, _ := net.SplitHostPort(m.addr)
	var config bytes.Buffer
	must(m.t, envoyConfig.Execute(&config, map[string]string{"Dir": dir, "CA": ca, "Cert": cert, "Key": key, "AppPort": appPort, "OurPort": ourPort}))
	file := filepath.Join(dir, "envoy.yaml")
	must(m.t, os.WriteFile(file, config.Bytes(), 0o600))
	var log lockedBuffer
	cmd := exec.Command(binary, "-c", file, "--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(m.t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if m.t.Failed() {
			m.t.Logf("Envoy said:\n%s", log.String())
		}
	})
	return awaitListeners(m.t, filepath.Join(dir, "admin.sock"), 3)
}

// awaitListeners asks Envoy which ports the kernel gave it, until all are there.
func awaitListeners(t testing.TB, admin string, n int) map[string]string {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", admin)
		}}}
	found := map[string]string{}
	eventually(t, "Envoy listens", func() error {
		res, err := client.Get("http://envoy/listeners?format=json")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var list struct {
			Statuses []struct {
				Name  string `json:"name"`
				Local struct {
					Socket struct {
						Address string `json:"address"`
						Port    int    `json:"port_value"`
					} `json:"socket_address"`
				} `json:"local_address"`
			} `json:"listener_statuses"`
		}
		data, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &list); err != nil {
			return fmt.Errorf("%w: %s", err, data)
		}
		for _, l := range list.Statuses {
			if a := l.Local.Socket; a.Port != 0 {
				found[l.Name] = fmt.Sprintf("%s:%d", a.Address, a.Port)
			}
		}
		if len(found) < n {
			return fmt.Errorf("only %v: %s", found, data)
		}
		return nil
	})
	return found
}

// Our client opens tunnels to Envoy, several at once over one connection.
func TestEnvoyServer(t *testing.T) {
	m := newMesh(t)
	p, k := m.pool(t, m.startEnvoy()["in"])
	k.SANs = hbone.MakeSANSet(clientID) // files() makes a client's certificate; Envoy serves with it
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			s, err := p.Open(t.Context(), k, "10.0.0.1:80", hbone.Header{{Name: "baggage", Value: "service.name=frontend"}})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			exchange(t, s, s.CloseWrite)
		})
	}
	wg.Wait()
	if st := p.Stats(); st.Conns != 1 {
		t.Errorf("%d connections for five tunnels", st.Conns)
	}
	var refused *hbone.RefusedError
	if _, err := p.Open(t.Context(), k, "10.9.9.9:1", nil); !errors.As(err, &refused) || refused.Status != 503 {
		t.Errorf("a tunnel that Envoy refuses with 503: %v", err)
	}
	k.SANs = hbone.MakeSANSet(serverID)
	if _, err := p.Open(t.Context(), k, "10.0.0.1:80", nil); !errors.Is(err, hbone.ErrPeerIdentity) {
		t.Errorf("the wrong peer: %v", err)
	}
}

// Applications that end by a reset are no attackers: their resets neither make Envoy close the connection
// that they share with others (nghttp2 does after 1,000, Envoy itself at 500), nor fail the next tunnel.
func TestEnvoyServerTakesResets(t *testing.T) {
	m := newMesh(t)
	p, k := m.pool(t, m.startEnvoy()["in"])
	k.SANs = hbone.MakeSANSet(clientID)
	living, err := p.Open(t.Context(), k, "10.0.0.1:80", nil)
	must(t, err)
	defer living.Close()
	for i := range 3000 {
		s, err := p.Open(t.Context(), k, "10.0.0.1:80", nil)
		if err != nil {
			t.Fatalf("after %d resets: %v", i, err)
		}
		s.Reset()
	}
	exchange(t, living, living.CloseWrite)
}

// Envoy opens tunnels to our server: bytes, half-closes, resets and refusals get through.
func TestEnvoyClient(t *testing.T) {
	m := newMesh(t)
	at := m.startEnvoy()
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			c, err := net.Dial("tcp", at["out"])
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			exchange(t, c, c.(*net.TCPConn).CloseWrite)
		})
	}
	wg.Wait()
	if st := m.server.Stats(); st.Streams != 5 || st.StreamsRefused != 0 || st.Conns == 0 {
		t.Errorf("%+v", st)
	}
	if got := m.lastHeader().Get("baggage"); got != "service.name=frontend" {
		t.Errorf("baggage %q", got)
	}
	c, err := net.Dial("tcp", at["nowhere"])
	must(t, err)
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("a refused tunnel gave %d bytes", n)
	}
	if st := m.server.Stats(); st.StreamsRefused == 0 {
		t.Errorf("nothing was refused: %+v", st)
	}
	// A caller that breaks off: our side of the tunnel has to end, too.
	c, err = net.Dial("tcp", at["out"])
	must(t, err)
	_, err = c.Write([]byte("x"))
	must(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	must(t, err)
	must(t, c.(*net.TCPConn).SetLinger(0))
	c.Close()
	eventually(t, "the broken tunnel ends", func() error {
		for _, conn := range m.server.Conns() {
			if conn.Streams > 0 {
				return fmt.Errorf("%d tunnels are open", conn.Streams)
			}
		}
		return nil
	})
}

// An Envoy with a certificate of another root is refused by our server, so what it accepted ends.
func TestEnvoyWithForeignCertificate(t *testing.T) {
	m, foreign := newMesh(t), newMesh(t)
	foreign.addr = m.addr // its Envoy calls m's server with its own certificates
	c, err := net.Dial("tcp", foreign.startEnvoy()["out"])
	must(t, err)
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came through", n)
	}
	if st := m.server.Stats(); st.Streams != 0 {
		t.Errorf("%+v", st)
	}
}
