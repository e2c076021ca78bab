package kubetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// adminToken is what Config shows; the server knows it as a cluster's administrator.
const adminToken = "kubetest-admin"

// Issuer of the server's service-account tokens.
const Issuer = "https://kubernetes.default.svc"

// Server is an API server with its own etcd, which end with the test.
type Server struct {
	t                    testing.TB
	binary, dir          string
	port, client, peer   int
	etcd, apiserver      *exec.Cmd
	etcdDone, serverDone chan struct{}
}

// Start runs a server and waits until it is ready.
func Start(t testing.TB) *Server {
	t.Helper()
	binary := os.Getenv("WEFT_KUBE")
	if binary == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("WEFT_KUBE is not set: it is the binary kube that `make cluster` builds")
		}
		t.Skip("WEFT_KUBE is not set: it is the binary kube that `make cluster` builds")
	}
	dir, err := os.MkdirTemp("", "weft-kubetest-")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, binary: binary, dir: dir}
	t.Cleanup(func() {
		s.Stop()
		end(s.etcd, s.etcdDone)
		if t.Failed() {
			t.Logf("last words of the API server:\n%s", tail(filepath.Join(dir, "apiserver.log")))
		}
		_ = os.RemoveAll(dir)
	})
	s.writeKeys()
	for attempt := 1; ; attempt++ {
		s.port, s.client, s.peer = freePort(t), freePort(t), freePort(t)
		s.startEtcd()
		s.Resume()
		if s.ready(2 * time.Minute) {
			return s
		}
		s.Stop()
		end(s.etcd, s.etcdDone)
		if attempt == 3 { // a port may have been taken meanwhile
			t.Fatalf("the API server does not get ready:\n%s\n%s", tail(filepath.Join(dir, "apiserver.log")), tail(filepath.Join(dir, "etcd.log")))
		}
	}
}

// Config of the administrator.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host: "https://127.0.0.1:" + strconv.Itoa(s.port), BearerToken: adminToken, QPS: 500, Burst: 1000,
		TLSClientConfig: rest.TLSClientConfig{CAFile: filepath.Join(s.dir, "certs", "apiserver.crt")},
	}
}

// Kubeconfig is a file with the same.
func (s *Server) Kubeconfig() string {
	s.t.Helper()
	c := s.Config()
	path := filepath.Join(s.dir, "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:  map[string]*clientcmdapi.Cluster{"test": {Server: c.Host, CertificateAuthority: c.CAFile}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"admin": {Token: adminToken}},
		Contexts:  map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "admin"}}, CurrentContext: "test",
	}, path)
	if err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Stop kills the API server; etcd goes on. Resume starts it again.
func (s *Server) Stop() { end(s.apiserver, s.serverDone) }

// Resume starts the API server on the same port; WaitReady waits for it.
func (s *Server) Resume() {
	keys := filepath.Join(s.dir, "sa.key")
	s.apiserver, s.serverDone = s.spawn("apiserver", "kube-apiserver",
		"--etcd-servers=http://127.0.0.1:"+strconv.Itoa(s.client), "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(s.port),
		"--cert-dir="+filepath.Join(s.dir, "certs"), "--token-auth-file="+filepath.Join(s.dir, "tokens.csv"), "--authorization-mode=RBAC",
		"--service-account-issuer="+Issuer, "--service-account-key-file="+keys, "--service-account-signing-key-file="+keys,
		"--service-cluster-ip-range=10.96.0.0/16", "--disable-admission-plugins=ServiceAccount", "--allow-privileged", "--endpoint-reconciler-type=none")
}

// WaitReady fails the test when the server does not get ready.
func (s *Server) WaitReady() {
	s.t.Helper()
	if !s.ready(2 * time.Minute) {
		s.t.Fatalf("the API server does not get ready:\n%s", tail(filepath.Join(s.dir, "apiserver.log")))
	}
}

func (s *Server) startEtcd() {
	peer := "http://127.0.0.1:" + strconv.Itoa(s.peer)
	client := "http://127.0.0.1:" + strconv.Itoa(s.client)
	data := filepath.Join(s.dir, "etcd")
	_ = os.RemoveAll(data)
	s.etcd, s.etcdDone = s.spawn("etcd", "etcd", "--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--unsafe-no-fsync")
}

func (s *Server) spawn(log string, args ...string) (*exec.Cmd, chan struct{}) {
	s.t.Helper()
	out, err := os.OpenFile(filepath.Join(s.dir, log+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(s.binary, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%s: %v", args[0], err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	return cmd, done
}

func end(cmd *exec.Cmd, done chan struct{}) {
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	<-done
}

// ready asks until the server says so, or ended, or the time is over.
func (s *Server) ready(within time.Duration) bool {
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if s.healthy() {
			return true
		}
		select {
		case <-s.serverDone:
			return false
		case <-s.etcdDone:
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

func (s *Server) healthy() bool {
	c := s.Config()
	c.Timeout = 5 * time.Second
	d, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return false // the certificate is not there yet
	}
	defer d.RESTClient().(*rest.RESTClient).Client.CloseIdleConnections()
	return d.RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error() == nil
}

func (s *Server) writeKeys() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	for name, data := range map[string]string{
		"sa.key":     string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})),
		"tokens.csv": fmt.Sprintf("%s,admin,admin,\"system:masters\"\n", adminToken),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(data), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// tail is the end of a log.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}
