package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nodeProcess is pid 1 of a node: it starts services, starts them again when they end, and reaps orphans.
type nodeProcess struct {
	spec nodeSpec
	cg   hierarchies
	mu   sync.Mutex         // protects exit, and is held while a process starts, so that it is known before it can be reaped
	exit map[int]chan error // by pid of what was started here
}

// runNode is the whole life of a node's first process; it ends by SIGTERM or SIGKILL.
func runNode(spec nodeSpec, _ string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return err
	}
	if err := errors.Join(mountNode(spec), nodeSysctls(spec.Dual)); err != nil {
		return err
	}
	path := spec.Containerd + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
	if err := os.Setenv("PATH", path); err != nil {
		return err
	}
	cg, err := findHierarchies()
	if err != nil {
		return err
	}
	n := &nodeProcess{spec: spec, cg: cg, exit: map[int]chan error{}}
	if err := cg.make("init.scope"); err != nil {
		return err
	}
	// cgroup2 gives controllers to children only of a group without processes
	if err := os.WriteFile(filepath.Join(cg.unified, "init.scope/cgroup.procs"), []byte("0"), 0o644); err != nil {
		return err
	}
	go n.reap()
	if err := installCNI(filepath.Join(spec.Containerd, "cni")); err != nil {
		return err
	}
	return n.services(ctx)
}

func (n *nodeProcess) services(ctx context.Context) error {
	kubeconfig := filepath.Join(n.spec.PKI, "kubelet-"+n.spec.Name+".kubeconfig")
	go n.keep("containerd", filepath.Join(n.spec.Containerd, "containerd"), "--config", filepath.Join(n.spec.Dir, "containerd.toml"))
	ctr := filepath.Join(n.spec.Containerd, "ctr")
	err := poll(ctx, time.Minute, "containerd", func() error { return n.run("node", ctr, "version") })
	if err != nil {
		return err
	}
	for _, image := range n.spec.Images {
		if err := n.run("node", ctr, "-n", "k8s.io", "images", "import", image); err != nil {
			return fmt.Errorf("loading %s: %w", image, err)
		}
	}
	// a kubelet that finds no API server at its start waits ten seconds before it looks again
	err = poll(ctx, 3*time.Minute, "the API server", func() error {
		return n.run("node", filepath.Join(n.spec.Kube, "kubectl"), "--kubeconfig", kubeconfig, "get", "--raw", "/readyz")
	})
	if err != nil {
		return err
	}
	go n.keep("kubelet", filepath.Join(n.spec.Kube, "kubelet"), "--config="+filepath.Join(n.spec.Dir, "kubelet.yaml"),
		"--kubeconfig="+kubeconfig, "--hostname-override="+n.spec.Name, "--node-ip="+n.spec.IP, "--cert-dir="+filepath.Join(n.spec.Dir, "kubelet"), "--v=1")
	go n.keep("kube-proxy", filepath.Join(n.spec.Kube, "kube-proxy"), "--config="+filepath.Join(n.spec.Dir, "proxy.yaml"))
	<-ctx.Done()
	return nil
}

// keep runs a service in the cgroup that systemd would give it, and starts it again a second after it ended.
func (n *nodeProcess) keep(name string, argv ...string) {
	for {
		err := n.run(name, argv...)
		fmt.Printf("%s %s ended: %v\n", time.Now().UTC().Format(time.TimeOnly), name, err)
		time.Sleep(time.Second) // as RestartSec does
	}
}

// run runs a program until it ends. Its output goes to NAME-NODE.log.
func (n *nodeProcess) run(name string, argv ...string) error {
	group := filepath.Join("system.slice", name+".service")
	if name == "node" {
		group = "init.scope"
	}
	if err := n.cg.make(group); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Join(n.cg.unified, group))
	if err != nil {
		return err
	}
	defer dir.Close()
	log, err := os.OpenFile(filepath.Join(n.spec.Logs, name+"-"+n.spec.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	done := make(chan error, 1)
	n.mu.Lock()
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err == nil {
		n.exit[p.Pid] = done
	}
	n.mu.Unlock()
	if err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(argv[0]), err)
	}
	defer p.Release() //nolint:errcheck // reap waits for it
	if err := <-done; err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// reap waits for every child, those that were started here and the orphans that come to pid 1.
func (n *nodeProcess) reap() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for range children {
		for {
			var how syscall.WaitStatus
			pid, err := syscall.Wait4(-1, &how, syscall.WNOHANG, nil)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if pid <= 0 {
				break
			}
			n.mu.Lock()
			done, ours := n.exit[pid]
			delete(n.exit, pid)
			n.mu.Unlock()
			if ours {
				done <- exitError(how)
			}
		}
	}
}

func exitError(how syscall.WaitStatus) error {
	switch {
	case how.Signaled():
		return fmt.Errorf("ended by %s", how.Signal())
	case how.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", how.ExitStatus())
	}
	return nil
}

// installCNI copies the plugins where a node has them, so that others can be put beside.
func installCNI(from string) error {
	const bin = "/opt/cni/bin"
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(os.DirFS(from), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(bin, name), b, 0o755)
	})
}
