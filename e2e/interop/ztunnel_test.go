package interop

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	istio "istio.io/istio/pkg/hbone"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/lab"
)

// manifests of a cart that only the frontend may call, and of a pod outside of the mesh to call from.
const manifests = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: outside}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: cart}}
  template:
    metadata: {labels: {app: cart}}
    spec:
      serviceAccountName: cart
      containers:
        - name: cart
          image: weft.dev/shop/cart
          ports: [{containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger, namespace: outside}
spec:
  replicas: 1
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger}}
    spec:
      serviceAccountName: stranger
      containers: [{name: client, image: weft.dev/shop/client, args: [sleep]}]
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: cart-callers, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  action: ALLOW
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}]}]
`

// cluster is a lab with our ztunnel in front of a real pod.
type cluster struct {
	t         *testing.T
	layout    lab.Layout
	authority *ca.Authority
	cart      *corev1.Pod
	other     *corev1.Pod // another pod of the same node
	port      string      // a loopback address that leads to cart's port 15008, from the pod outside
}

// newCluster raises a lab of one node with programs built for it.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI has to run as root")
		}
		t.Skip("needs root: it raises a lab")
	}
	bin, dir := buildPrograms(t), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(manifests), 0o600))
	c := &cluster{t: t, layout: lab.Layout{Name: "interop", Nodes: 1}}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(c.layout.LogFile("ztunnel/n1"))
			t.Logf("ztunnel said:\n%s", log)
		}
		if err := lab.Down(c.layout); err != nil {
			t.Error(err)
		}
	})
	out, err := exec.Command(filepath.Join(bin, "weftctl"), "lab", "up", "--name", c.layout.Name, "--nodes", "1", "--tunnel-tls", driver, "-f", dir, "--timeout", "2m").CombinedOutput()
	if err != nil {
		t.Fatalf("raise a lab: %v\n%s", err, out)
	}
	c.authority, err = ca.OpenAuthority(ca.AuthorityOptions{Dir: c.layout.Path("ca")})
	must(t, err)
	pods, err := c.layout.Pods()
	must(t, err)
	var stranger *corev1.Pod
	for _, p := range pods {
		switch {
		case p.Namespace == "outside":
			stranger = p
		case c.cart == nil:
			c.cart = p
		default:
			c.other = p
		}
	}
	c.port = c.lead(stranger, net.JoinHostPort(c.cart.Status.PodIP, "15008"))
	return c
}

// buildPrograms finds those of $WEFT_BIN, which make test has just built, or builds them.
func buildPrograms(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("WEFT_BIN"); bin != "" {
		return bin
	}
	dir := t.TempDir()
	build := func(args ...string) {
		cmd := exec.Command("go", append([]string{"build"}, args...)...)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, out)
		}
	}
	build("-o", dir+"/", "./cmd/weftctl", "./cmd/weft-controller", "./cmd/weft-agent", "./cmd/weft-ztunnel")
	for _, app := range []string{"cart", "client"} {
		build("-o", filepath.Join(dir, "shop-"+app), "./examples/shop/apps/"+app)
	}
	return dir
}

// lead listens on loopback and passes what comes to an address in a pod's network, so that programs which
// know nothing of network namespaces can call from there.
func (c *cluster) lead(from *corev1.Pod, to string) string {
	l := listen(c.t)
	go accept(l, func(near net.Conn) {
		var far net.Conn
		err := lab.InNetNS(c.layout.PodNS(from.Namespace, from.Name), func() (err error) {
			far, err = net.DialTimeout("tcp", to, 10*time.Second)
			return err
		})
		if err != nil {
			c.t.Log(err)
			return
		}
		defer far.Close()
		go func() { _, _ = io.Copy(far, near); _ = far.(*net.TCPConn).CloseWrite() }()
		_, _ = io.Copy(near, far)
	})
	return l.Addr().String()
}

// member is a certificate of the mesh for an account.
func (c *cluster) member(account string) tls.Certificate {
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: account}
	key, csr, err := ca.NewRequest(id)
	must(c.t, err)
	chain, err := c.authority.Sign(csr, id, time.Hour)
	must(c.t, err)
	block, _ := pem.Decode([]byte(chain[0]))
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// tlsFor is how another maker's client would be set up: it trusts the mesh's root, and the server's name
// is a SPIFFE URI that it checks itself.
func (c *cluster) tlsFor(account string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c.member(account)}, NextProtos: []string{"h2"}, InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf := cs.PeerCertificates[0]
			_, err := leaf.Verify(x509.VerifyOptions{Roots: c.authority.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			if err == nil && (len(leaf.URIs) != 1 || leaf.URIs[0].String() != serverID) {
				err = fmt.Errorf("the server is %v, not %s", leaf.URIs, serverID)
			}
			return err
		},
	}
}

// Istio's client, openssl and curl against port 15008 of a captured pod.
func TestZtunnel(t *testing.T) {
	c := newCluster(t)
	app := net.JoinHostPort(c.cart.Status.PodIP, "8080")
	t.Run("Istio's client", func(t *testing.T) {
		d := istio.NewDialer(istio.Config{ProxyAddress: c.port, TLS: c.tlsFor("frontend")})
		eventually(t, "the first tunnel opens", func() error {
			conn, err := d.Dial("tcp", app)
			if err == nil {
				conn.Close()
			}
			return err
		})
		for range 5 {
			conn, err := d.Dial("tcp", app)
			must(t, err)
			askCart(t, conn)
			conn.Close()
		}
		if _, err := istio.NewDialer(istio.Config{ProxyAddress: c.port, TLS: c.tlsFor("stranger")}).Dial("tcp", app); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a caller whom policy refuses: %v, want 401", err)
		}
		for _, target := range []string{
			net.JoinHostPort(c.other.Status.PodIP, "8080"), net.JoinHostPort(c.cart.Status.PodIP, "15001"), net.JoinHostPort(c.cart.Status.PodIP, "15006"),
			net.JoinHostPort(c.cart.Status.PodIP, "15008"), "127.0.0.1:8080", "[::1]:8080", "example.com:80", "nonsense",
		} {
			if _, err := d.Dial("tcp", target); err == nil || !strings.Contains(err.Error(), "400") {
				t.Errorf("CONNECT %s: %v, want 400", target, err)
			}
		}
		conn, err := d.Dial("tcp", app) // and the good one goes on
		must(t, err)
		askCart(t, conn)
		conn.Close()
	})
	m := &mesh{t: t, cert: c.authority.Roots()[0]}
	root, cert, key := m.write(c.member("frontend"))
	t.Run("openssl", func(t *testing.T) { checkOpenSSL(t, c.port, root, cert, key) })
	t.Run("curl", func(t *testing.T) { checkCurl(t, c.port, root, cert, key) })
}

// askCart makes one HTTP request over a tunnel.
func askCart(t *testing.T, conn net.Conn) {
	t.Helper()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: cart\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	defer res.Body.Close()
	var answer struct{ Service string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusOK || answer.Service != "cart" {
		t.Errorf("%s %+v %v", res.Status, answer, err)
	}
}
