package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/e2e/soak/calls"
	"github.com/weftmesh/weft/examples"
	"github.com/weftmesh/weft/pkg/lab"
)

//go:embed manifests/*.yaml
var own embed.FS

// pods that call, by role.
var callers = map[calls.Role]string{calls.Frontend: "shop/frontend", calls.Shopper: "shop/shopper", calls.Stranger: "outside/stranger"}

func newSoak(o options) (*soak, error) {
	s := &soak{o: o, lab: lab.Layout{Name: o.name, Nodes: 2}, finds: &findings{}}
	if err := s.lab.Validate(); err != nil {
		return nil, err
	}
	var err error
	s.manifests, err = os.MkdirTemp("", "weft-soak-")
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"shop", "steps/2-enrol", "steps/3-policy", "steps/4-strict", "steps/5-waypoint", "steps/6-fault"} {
		if err := s.copyAll(examples.Files, dir); err != nil {
			return nil, err
		}
	}
	if err := s.copyAll(own, "manifests"); err != nil {
		return nil, err
	}
	for _, r := range rolled { // with the annotation from the beginning, so that only its value changes
		data, err := manifest(r.file, nil)
		if err != nil {
			return nil, err
		}
		if err := s.save(r.file, data); err != nil {
			return nil, err
		}
	}
	// The policy of step 3 is one of layer 4. A waypoint in between would be the only caller that payments
	// knows, so payments is reached without one.
	return s, s.edit("payments.yaml", "kind: Service\nmetadata:\n", "kind: Service\nmetadata:\n  labels: {weft.dev/use-waypoint: none}\n")
}

func (s *soak) copyAll(from fs.FS, dir string) error {
	files, err := fs.Glob(from, path.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no manifests in %s: %w", dir, err)
	}
	for _, f := range files {
		data, err := fs.ReadFile(from, f)
		if err != nil {
			return err
		}
		if err := s.save(path.Base(f), data); err != nil {
			return err
		}
	}
	return nil
}

// save puts a manifest in its place at once, as an editor does.
func (s *soak) save(name string, data []byte) error {
	tmp := filepath.Join(s.manifests, "."+name)
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(s.manifests, name))
}

// edit replaces a text that must be there.
func (s *soak) edit(name, from, to string) error {
	data, err := os.ReadFile(filepath.Join(s.manifests, name))
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(from)) {
		return fmt.Errorf("%s does not hold %q any more: the example changed, and this program has to follow", name, from)
	}
	return s.save(name, bytes.Replace(data, []byte(from), []byte(to), 1))
}

// raise brings the lab up and waits until one call of each kind goes as it should.
func (s *soak) raise(ctx context.Context) error {
	s.say("raising lab %s with programs of %s", s.o.name, s.o.bin)
	out, err := s.weftctl(ctx, "lab", "up", "--name", s.o.name, "-f", s.manifests, "--bin", s.o.bin,
		"--envoy", s.o.envoy, "--cert-ttl", s.o.ttl.String(), "--timeout", "3m").CombinedOutput()
	if err != nil {
		return fmt.Errorf("raise the lab: %w\n%s", err, out)
	}
	return s.settled(ctx, 3*time.Minute)
}

// settled waits until one call of each kind goes as it should, twice in a row.
func (s *soak) settled(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for good := 0; good < 2; {
		var errs []error
		for role, pod := range callers {
			var text bytes.Buffer
			cmd := s.inPod(ctx, pod, "weft-soak", "call", "-once", string(role))
			cmd.Stderr = &text
			if err := cmd.Run(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w: %s", role, err, strings.TrimSpace(text.String())))
			}
		}
		good++
		if err := errors.Join(errs...); err != nil {
			good = 0
			if ctx.Err() != nil {
				return fmt.Errorf("not every call goes as it should after %s: %w", timeout, err)
			}
			pause(ctx, time.Second)
		}
	}
	return nil
}

func (s *soak) weftctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.o.bin, "weftctl"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it cleans up after itself
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// inPod runs a program of the bin folder as a process of a pod.
func (s *soak) inPod(ctx context.Context, pod string, argv ...string) *exec.Cmd {
	return s.weftctl(ctx, append([]string{"lab", "exec", "--name", s.o.name, pod, "--"}, argv...)...)
}

// pods of the lab that belong to what pod names, for instance to the Deployment shop/cart-v1.
func (s *soak) pods(name string) ([]*corev1.Pod, error) {
	all, err := s.lab.Pods()
	if err != nil {
		return nil, err
	}
	var found []*corev1.Pod
	for _, p := range all {
		if strings.HasPrefix(p.Namespace+"/"+p.Name, name+"-") {
			found = append(found, p)
		}
	}
	return found, nil
}

func (s *soak) say(format string, a ...any) {
	fmt.Printf("%s  %s\n", time.Now().UTC().Format("15:04:05"), fmt.Sprintf(format, a...))
}

// pause waits, or less when the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
