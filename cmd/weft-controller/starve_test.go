package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

// mountSmall puts a file system of 256 KiB on a folder.
func mountSmall(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to mount a small file system")
		}
		t.Skip("needs root to mount a small file system")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}))
}

// fill leaves no byte free; the returned function makes room again.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 512, 1} {
		for block := make([]byte, size); ; {
			if _, err := f.Write(block); err != nil {
				break
			}
		}
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// While status and deployments cannot be written, clients are served; what was missed is written later.
func TestUnwritableFolders(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string) (mend func()){
		"full disk": fill,
		"read-only": func(t *testing.T, dir string) func() {
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=256k"); err != nil {
					t.Error(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			disk := filepath.Join(b.dir, "disk")
			mountSmall(t, disk)
			b.c.stateDir, b.c.deployDir = filepath.Join(disk, "state"), filepath.Join(disk, "deploy")
			const status, deployment = "disk/state/status/authorizationpolicy/shop_p.yaml", "disk/deploy/shop_way.yaml"
			policy := func(principal string) string {
				return fmt.Sprintf(policyYAML, "p", `principals: ["`+principal+`"]`)
			}
			b.write("src/a.yaml", policy("*/ns/*/x")) // a star in the middle: refused
			address, stop := b.start()
			z := b.ztunnel(address)
			eventually(t, "the first status is written", func() bool { return strings.Contains(b.read(status), `a star may only begin or end`) })

			mend := spoil(t, disk)
			b.write("src/a.yaml", policy("cluster.local/ns/shop/sa/cart")+gatewayYAML+"---\n"+service("cart", 80, ""))
			eventually(t, "ztunnels are served", func() bool { return z.service("cart") != nil })
			pending := func(want string) func() bool {
				return func() bool { return strings.Contains(b.page("/metrics"), want) }
			}
			eventually(t, "the metrics tell", pending(`weft_controller_file_failures_total{folder="deploy"}`))
			if !strings.Contains(b.read(status), "a star may only begin or end") || b.read(deployment) != "" {
				t.Errorf("half written: status %q, deployment %q", b.read(status), b.read(deployment))
			}
			mend()
			eventually(t, "all is written", func() bool {
				return !strings.Contains(b.read(status), "a star may only begin or end") && strings.Contains(b.read(deployment), "kind: Deployment") && b.read("disk/state/status/gateway/shop_way.yaml") != ""
			})
			eventually(t, "nothing is pending", func() bool {
				return pending(`weft_controller_files_pending{folder="deploy"} 0`)() && pending(`weft_controller_files_pending{folder="status"} 0`)()
			})
			left, err := filepath.Glob(filepath.Join(disk, "*", "*", "*", ".*.tmp"))
			if err != nil || len(left) > 0 {
				t.Errorf("temporary files are left: %v, %v", left, err)
			}
			stop()
		})
	}
}

// starve takes all free descriptors from a process until the returned function is called.
func starve(t *testing.T, pid int) (feed func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 3, Max: old.Max}, nil); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// Without descriptors nobody new is served and no file is read, but what is known stays in force and who
// is connected is served; with descriptors again nothing has been lost.
func TestNoDescriptors(t *testing.T) {
	b := newBench(t)
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: cart-1, namespace: shop, labels: {app: cart}}\nspec: {nodeName: n1, serviceAccountName: cart, containers: [{name: c, image: i}]}\n" +
		"status: {phase: Running, podIP: 10.1.0.1, conditions: [{type: Ready, status: \"True\"}]}\n---\n"
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}\n---\n"
	b.write("src/a.yaml", namespace+pod+service("cart", 80, ""))
	b.write("state/status/pods/shop_cart-1.json", `{"redirection":"enabled"}`)
	cmd := b.program()
	address := b.address()
	z := b.ztunnel(address)
	eventually(t, "a client is served", func() bool { return z.service("cart") != nil })
	conn := b.dial(address, "weft-system/weft-ztunnel", "n1")
	sign := func(conn *grpc.ClientConn, patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
		_, csr, err := ca.NewRequest(id)
		if err != nil {
			return err
		}
		_, err = securityapi.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &securityapi.IstioCertificateRequest{
			Csr: string(csr), ValidityDuration: 3600, Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"ImpersonatedIdentity": structpb.NewStringValue(id.String())}}})
		return err
	}
	if err := sign(conn, time.Minute); err != nil {
		t.Fatal(err)
	}

	feed := starve(t, cmd.Process.Pid)
	b.write("src/a.yaml", namespace+pod+service("cart", 81, "")+gatewayYAML)
	b.write("state/status/pods/shop_cart-1.json", `{"redirection":"enabled" }`)
	eventually(t, "the log tells", func() bool { return strings.Contains(b.read("log"), "too many open files") })
	if err := sign(conn, time.Minute); err != nil {
		t.Errorf("who is connected is not served: %v", err)
	}
	late, lateConn := b.ztunnel(address), b.dial(address, "weft-system/weft-ztunnel", "n1")
	if err := sign(lateConn, 500*time.Millisecond); err == nil {
		t.Error("a new connection got a certificate without a descriptor")
	}
	if late.service("cart") != nil {
		t.Error("a new connection was served without a descriptor")
	}
	feed()

	eventually(t, "the edit arrives", func() bool { s := z.service("cart"); return s != nil && s.Ports[0].ServicePort == 81 })
	eventually(t, "the newcomer is served", func() bool { s := late.service("cart"); return s != nil && s.Ports[0].ServicePort == 81 })
	eventually(t, "the newcomer gets a certificate", func() bool { return sign(lateConn, 5*time.Second) == nil })
	eventually(t, "the deployment is written", func() bool { return b.read("deploy/shop_way.yaml") != "" })
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, w := range z.workloads {
		if w.Name == "cart-1" && w.Protocol == 0 {
			t.Error("the pod is not known to be captured any more")
		}
	}
	if b.page("/ready") == "" {
		t.Error("not ready")
	}
}
