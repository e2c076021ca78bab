package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// inside names the folder of programs for a test in a network of its own.
const inside = "WEFT_TEST_PROGRAMS"

// inOwnNetwork reports whether the test is to go on. The real controller has Envoy listen on every address, so
// such a test runs again by itself in a network of its own, and is judged by that.
func inOwnNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatal(err)
		}
		return true
	}
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a network of its own takes root")
		}
		t.Skip("a network of its own takes root")
	}
	testmesh.Binary(t)
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "../../cmd/weft-controller", "../../cmd/weft-waypoint")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"="+bin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// shipped is a weft-controller, as it is shipped, on a folder of manifests, and the waypoint shop/wp that it
// configures.
type shipped struct {
	t       *testing.T
	dir     string
	control string // address of xDS and CA
	debug   string // address of its pages
	client  *testmesh.Client
	caller  *ca.Manager
	stop    func() // ends the controller
}

// startShipped has a caller frontend. Manifests come by write.
func startShipped(t *testing.T) *shipped {
	t.Helper()
	binary := testmesh.Binary(t)
	dir, err := os.MkdirTemp("", "wft-ps-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &shipped{t: t, dir: dir, control: "127.0.0.1:15012", debug: "127.0.0.1:15014"}
	if err := ca.CreateTokenKey(filepath.Join(dir, "token-key")); err != nil {
		t.Fatal(err)
	}
	p.write("gateway", gatewayManifests)
	p.controller()
	p.waypoint(binary)
	auth, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: filepath.Join(dir, "ca")})
	if err != nil {
		t.Fatal(err)
	}
	p.caller = ca.NewManager(ca.ManagerOptions{Issuer: issuer{auth}})
	t.Cleanup(p.caller.Close)
	account := func(name string) identity.Identity {
		return identity.Identity{TrustDomain: domain, Namespace: "shop", ServiceAccount: name}
	}
	if _, err := p.caller.Certificate(context.Background(), account("frontend")); err != nil {
		t.Fatal(err)
	}
	p.client = testmesh.NewClientTLS(t, "127.0.0.1:15008", p.callerTLS(account("frontend"), account("wp")))
	return p
}

// controller starts weft-controller, and waits until it is ready.
func (p *shipped) controller() {
	p.t.Helper()
	p.stop = p.run("weft-controller", "--source=dir:"+filepath.Join(p.dir, "src"), "--state-dir="+filepath.Join(p.dir, "state"), "--ca-dir="+filepath.Join(p.dir, "ca"),
		"--token-public-key="+filepath.Join(p.dir, "token-key.pub"), "--listen="+p.control, "--debug-listen="+p.debug)
	testmesh.Eventually(p.t, 30*time.Second, "the controller is ready", func() error { _, err := p.page("/ready"); return err })
}

func (p *shipped) callerTLS(own, expect identity.Identity) *tls.Config {
	return p.caller.ClientTLS(own, []identity.Identity{expect})
}

// run starts a program that ends with the test, or when stop is called.
func (p *shipped) run(program string, args ...string) (stop func()) {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(os.Getenv(inside), program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
	})
	p.t.Cleanup(func() {
		stop()
		if text, err := os.ReadFile(log.Name()); err == nil && p.t.Failed() {
			p.t.Logf("%s:\n%s", program, text)
		}
	})
	return stop
}

// waypoint starts the launcher with its Envoy.
func (p *shipped) waypoint(envoy string) {
	p.t.Helper()
	token, err := ca.MintToken(ca.MintOptions{KeyFile: filepath.Join(p.dir, "token-key"), ServiceAccount: "shop/wp", Node: "n1"})
	if err != nil {
		p.t.Fatal(err)
	}
	file := filepath.Join(p.dir, "wp.token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.run("weft-waypoint", "--gateway=shop/wp", "--pod=wp-1", "--controller="+p.control, "--root-cert="+filepath.Join(p.dir, "ca", ca.FileRoots), "--token-file="+file,
		"--envoy="+envoy, "--run-dir="+filepath.Join(p.dir, "run"), "--concurrency=1", "--drain-seconds=1", "--controller-name=localhost")
	testmesh.Eventually(p.t, 60*time.Second, "the waypoint is ready", func() error { _, err := get("http://127.0.0.1:15021/ready"); return err })
}

// write replaces a file of manifests, as an editor does.
func (p *shipped) write(name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, "src", name+".yaml")
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *shipped) page(path string) (string, error) { return get("http://" + p.debug + path) }

// saysOf waits until an object's status holds a text.
func (p *shipped) saysOf(kind, name, text string) {
	p.t.Helper()
	path := filepath.Join(p.dir, "state", "status", strings.ToLower(kind), strings.ReplaceAll(name, "/", "_")+".yaml")
	testmesh.Eventually(p.t, 30*time.Second, fmt.Sprintf("the status of %s says %q", name, text), func() error {
		got, err := os.ReadFile(path)
		if err == nil && !strings.Contains(strings.Join(strings.Fields(string(got)), " "), text) {
			err = fmt.Errorf("%s", got)
		}
		return err
	})
}

// answers waits for a status code of the service at an address.
func (p *shipped) answers(hc *http.Client, code int, header ...string) {
	p.t.Helper()
	testmesh.Eventually(p.t, 60*time.Second, fmt.Sprintf("it is answered %d", code), func() error {
		got, _, _, err := ask(hc, "GET", "/", header...)
		if err == nil && got != code {
			err = fmt.Errorf("status %d", got)
		}
		return err
	})
}

func get(url string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

// outsideManifest is a service whose one endpoint is no pod.
func outsideManifest(name, vip string, at netip.AddrPort, use string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop, labels: {weft.dev/use-waypoint: %[5]s}}
spec: {clusterIP: %[2]s, ports: [{name: http, port: 80, targetPort: %[4]d, appProtocol: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[4]d}]
endpoints: [{addresses: [%[3]s]}]
`, name, vip, at.Addr(), at.Port(), use)
}
