package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	etcd              = "etcd"
	apiserver         = "kube-apiserver"
	controllerManager = "kube-controller-manager"
	scheduler         = "kube-scheduler"
)

// controlPlane are its programs in the order in which they start.
var controlPlane = []string{etcd, apiserver, controllerManager, scheduler}

// controlArgs are the flags of each program. The control plane is alone in its network namespace, so every cluster
// uses the usual ports.
func (c *Cluster) controlArgs(name string) []string {
	pki := func(file string) string { return c.run("pki", file) }
	asUser := func(user string) []string {
		k := pki(user + ".kubeconfig")
		return []string{"--kubeconfig=" + k, "--authentication-kubeconfig=" + k, "--authorization-kubeconfig=" + k,
			"--bind-address=127.0.0.1", "--leader-elect=false"}
	}
	switch name {
	case etcd:
		// without fsync: nothing here has to outlive a power cut
		return []string{"--data-dir=" + c.run("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380"}
	case apiserver:
		return []string{"--etcd-servers=http://127.0.0.1:2379", "--bind-address=0.0.0.0", "--advertise-address=" + c.controlIP(),
			"--secure-port=6443", "--cert-dir=" + c.run("apiserver"), "--authorization-mode=Node,RBAC",
			"--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--enable-aggregator-routing=true",
			"--service-cluster-ip-range=" + c.both(serviceCIDR, serviceCIDR6), "--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + pki("service-accounts.key"), "--service-account-signing-key-file=" + pki("service-accounts.key"),
			"--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"), "--client-ca-file=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("apiserver-kubelet-client.crt"), "--kubelet-client-key=" + pki("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP", // node names do not resolve
			"--requestheader-client-ca-file=" + pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
			"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
			"--requestheader-extra-headers-prefix=X-Remote-Extra-"}
	case controllerManager:
		return append(asUser("controller-manager"), "--use-service-account-credentials=true", "--root-ca-file="+pki("ca.crt"),
			"--service-account-private-key-file="+pki("service-accounts.key"), "--cert-dir="+c.run("controller-manager"),
			"--cluster-signing-cert-file="+pki("ca.crt"), "--cluster-signing-key-file="+pki("ca.key"),
			"--cluster-cidr="+c.both(c.podCIDR(), c.podCIDR6()), "--service-cluster-ip-range="+c.both(serviceCIDR, serviceCIDR6),
			"--concurrent-deployment-syncs=10", "--concurrent-gc-syncs=5", "--kube-api-qps=200", "--kube-api-burst=400")
	default:
		return append(asUser("scheduler"), "--cert-dir="+c.run("scheduler"), "--kube-api-qps=200", "--kube-api-burst=400")
	}
}

// StartControl starts one program of the control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.
func (c *Cluster) StartControl(name string) error {
	p, err := program{
		argv: append([]string{filepath.Join(c.state.Built.Kube, name)}, c.controlArgs(name)...),
		log:  c.logFile(name), netns: c.name(), cgroup: filepath.Join(c.cg.unified, c.name(), "control"),
	}.start()
	if err != nil {
		return err
	}
	c.state.Processes[name] = p
	return c.save()
}

// KillControl ends one program of the control plane with SIGKILL, and returns when it is gone and its ports are free.
func (c *Cluster) KillControl(name string) error {
	p, known := c.state.Processes[name]
	if !known {
		return fmt.Errorf("no program %q in the control plane: it has %v", name, controlPlane)
	}
	if err := p.kill(10 * time.Second); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// WaitAPI returns when the API server answers.
func (c *Cluster) WaitAPI(ctx context.Context) error {
	return poll(ctx, 90*time.Second, "the API server ("+c.logFile(apiserver)+")", func() error {
		if p := c.state.Processes[apiserver]; !p.alive() {
			return errors.New("it does not run")
		}
		_, err := c.Run(ctx, "get", "--raw", "/readyz")
		return err
	})
}

// Run runs kubectl as the administrator and gives what it printed.
func (c *Cluster) Run(ctx context.Context, args ...string) (string, error) {
	return c.runWith(ctx, nil, args...)
}

// Apply applies manifests.
func (c *Cluster) Apply(ctx context.Context, manifests []byte) error {
	_, err := c.runWith(ctx, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

func (c *Cluster) runWith(ctx context.Context, stdin []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Kubectl(), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	cmd.Stdin = bytes.NewReader(stdin)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %v: %w: %s", args, err, bytes.TrimSpace(problem.Bytes()))
	}
	return out.String(), nil
}
