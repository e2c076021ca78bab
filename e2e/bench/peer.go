package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab"
)

// peer is a running peer: whatever its script started in its cgroup.
type peer struct {
	script string
	cgroup string // absolute
	env    []string
}

// notInstalled is the exit code by which a script says that its program is not there.
const notInstalled = 3

// peerPaths starts the peers between the pods of the direct path.
func (w *world) peerPaths(ctx context.Context) error {
	direct := w.paths[0]
	server, err := w.pod(ctx, "direct", "server")
	if err != nil {
		return err
	}
	certs := filepath.Join(w.dir, "certs")
	if err := makeCertificates(certs); err != nil {
		return err
	}
	port := 15200
	for _, folder := range w.o.peers {
		scripts, err := filepath.Glob(filepath.Join(folder, "*.sh"))
		if err != nil || len(scripts) == 0 {
			return fmt.Errorf("no peers in %s: want scripts NAME.sh (%w)", folder, err)
		}
		for _, script := range scripts {
			name := strings.TrimSuffix(filepath.Base(script), ".sh")
			if !wanted(w.o.paths, name) {
				continue
			}
			p, err := w.startPeer(ctx, name, script, certs, port, direct.client, server)
			if err != nil {
				return err
			}
			if p != nil {
				w.answering(ctx, p)
			}
			port += 10
		}
	}
	return nil
}

// answering takes a peer's path if it answers; a peer that does not must not cost the others their figures.
func (w *world) answering(ctx context.Context, p *path) {
	if err := w.warm(ctx, p); err != nil {
		say("peer %s left out: %s", p.name, err)
		w.leftOut = append(w.leftOut, p.name+" did not answer")
		return
	}
	w.paths = append(w.paths, p)
}

// startPeer runs a script's "up"; nil when its program is not installed.
func (w *world) startPeer(ctx context.Context, name, script, certs string, port int, client, server *corev1.Pod) (*path, error) {
	root, err := lab.CgroupRoot()
	if err != nil {
		return nil, err
	}
	work := filepath.Join(w.dir, name)
	p := &peer{script: script, cgroup: filepath.Join(root, "weft-bench-"+name)}
	p.env = append(os.Environ(), "WORK="+work, "CERTS="+certs, "SERVER_IP="+server.Status.PodIP, fmt.Sprint("APP_PORT=", appPort),
		fmt.Sprint("PORT=", port), "BIN="+w.o.bin)
	if err := errors.Join(os.Mkdir(work, 0o755), ignoreExisting(os.Mkdir(p.cgroup, 0o755))); err != nil {
		return nil, err
	}
	w.peers = append(w.peers, p)
	out, err := p.run(ctx, "up", w.lab.PodNS(client.Namespace, client.Name), w.lab.PodNS(server.Namespace, server.Name))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notInstalled {
		say("peer %s left out: %s", name, exit.Stderr)
		w.leftOut = append(w.leftOut, name+" is not installed")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("start peer %s: %w", name, err)
	}
	addr, cold := peerAddresses(out)
	return &path{name: name, client: client, addr: addr, cold: cold, cgroups: []string{p.cgroup}}, nil
}

// run runs the script in the peer's cgroup. Its daemons keep no pipe of ours open: output goes to a file.
func (p *peer) run(ctx context.Context, args ...string) ([]byte, error) {
	out, err := os.CreateTemp("", "weft-bench-peer-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	dir, err := os.Open(p.cgroup)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	cmd := exec.CommandContext(ctx, "bash", append([]string{p.script}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	err = cmd.Run()
	text, _ := os.ReadFile(out.Name())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		exit.Stderr = bytes.TrimSpace(text)
		return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return text, err
}

// down ends everything in the peer's cgroup and removes it.
func (p *peer) down() error {
	_, err := p.run(context.Background(), "down")
	for range 100 {
		for _, pid := range pids(p.cgroup) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if os.Remove(p.cgroup) == nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(err, fmt.Errorf("cgroup %s does not empty", p.cgroup))
}

// pids of a cgroup and all below.
func pids(cgroup string) []int {
	var all []int
	_ = filepath.WalkDir(cgroup, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		data, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				all = append(all, pid)
			}
		}
		return nil
	})
	return all
}

func ignoreExisting(err error) error {
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
