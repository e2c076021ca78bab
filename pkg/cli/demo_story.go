package cli

import (
	"bytes"
	"context"
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

	"github.com/weftmesh/weft/examples"
	"github.com/weftmesh/weft/pkg/lab"
	"github.com/weftmesh/weft/pkg/lab/capture"
)

// story is the demo while it is told.
type story struct {
	e     *env
	c     *lab.Config
	dir   string // the manifests, a copy of examples/shop that the steps change; part of the lab's state
	began time.Time
	up    bool // the lab is ours to take down
}

func newStory(e *env, c *lab.Config) *story {
	s := &story{e: e, c: c, dir: c.Path("manifests"), began: time.Now()}
	c.Manifests = []string{s.dir}
	return s
}

// copyManifests puts the YAML files of a folder of the examples among the lab's manifests, over those of
// the same names. Each appears by a rename.
func (s *story) copyManifests(folder string) error {
	files, err := fs.Glob(examples.Files, path.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no manifests in examples/%s: %w", folder, err)
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		data, err := examples.Files.ReadFile(f)
		if err != nil {
			return err
		}
		tmp := filepath.Join(s.dir, "."+path.Base(f))
		if err := os.WriteFile(tmp, data, 0o644); err != nil {
			return err
		}
		if err := os.Rename(tmp, filepath.Join(s.dir, path.Base(f))); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) raise(ctx context.Context, keep bool) error {
	fmt.Fprintln(s.e.stdout, s.e.bold("Weft: a whole mesh on this machine"))
	fmt.Fprint(s.e.stdout, "Raising two nodes, a controller, agents, ztunnels and a small shop … ")
	if !keep { // with --keep the lab outlives this process
		id, err := lab.OwnID()
		if err != nil {
			return err
		}
		s.c.Owner = id
	}
	began := time.Now()
	err := startLab(ctx, s.c, func() error { return s.copyManifests("shop") })
	if err == nil {
		s.up = true
		err = awaitLab(ctx, s.c, 45*time.Second)
	}
	if err != nil {
		fmt.Fprintln(s.e.stdout, s.e.red("failed"))
		return err
	}
	fmt.Fprintf(s.e.stdout, "%s (%.1f s)\n", s.e.green("ready"), time.Since(began).Seconds())
	return nil
}

// tell applies one step, waits until it is in force, and proves it unless it is only in the way.
func (s *story) tell(ctx context.Context, n int, step demoStep, show bool) error {
	if show {
		fmt.Fprintf(s.e.stdout, "\n%s\n", s.e.bold(fmt.Sprintf("%d. %s", n, step.title)))
	}
	if step.files != "" {
		if show {
			s.note("%s", strings.Join(s.changes(step.files), ", "))
		}
		if err := s.copyManifests(path.Join("steps", step.files)); err != nil {
			return err
		}
	}
	if step.settled != nil {
		began := time.Now()
		if err := step.settled(s, ctx); err != nil {
			return err
		}
		if show {
			s.proved("in force %s after the file was saved", millis(time.Since(began)))
		}
	}
	if !show {
		return nil
	}
	return step.check(s, ctx)
}

// changes names the files of a step for the reader.
func (s *story) changes(folder string) []string {
	files, _ := fs.Glob(examples.Files, path.Join("steps", folder, "*.yaml"))
	for i, f := range files {
		verb := "add "
		if _, err := os.Stat(filepath.Join(s.dir, path.Base(f))); err == nil {
			verb = "edit "
		}
		files[i] = verb + "examples/" + f
	}
	return files
}

func (s *story) note(format string, a ...any) {
	fmt.Fprintf(s.e.stdout, "   %s\n", s.e.dim(fmt.Sprintf(format, a...)))
}

// proved prints a piece of evidence that was just checked.
func (s *story) proved(format string, a ...any) {
	fmt.Fprintf(s.e.stdout, "   %s %s\n", s.e.green("✓"), fmt.Sprintf(format, a...))
}

// call runs a program in a pod and returns what it wrote and its exit code; err is for calls that could
// not be made at all.
type callResult struct {
	out, errs string
	code      int
	took      time.Duration
}

func (s *story) call(ctx context.Context, pod string, argv ...string) (callResult, error) {
	p, err := s.pod(pod)
	if err != nil {
		return callResult{}, err
	}
	var out, errs bytes.Buffer
	began := time.Now()
	err = lab.Exec(ctx, s.c.Layout, p, argv, lab.Streams{Out: &out, Err: &errs})
	r := callResult{out: strings.TrimSpace(out.String()), errs: strings.TrimSpace(errs.String()), took: time.Since(began)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code, err = exit.ExitCode(), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return r, err
}

// must is call for what has to succeed.
func (s *story) must(ctx context.Context, pod string, argv ...string) (callResult, error) {
	r, err := s.call(ctx, pod, argv...)
	if err == nil && r.code != 0 {
		err = fmt.Errorf("%s in %s: exit code %d: %s %s", strings.Join(argv, " "), pod, r.code, r.out, r.errs)
	}
	return r, err
}

func (s *story) pod(name string) (*corev1.Pod, error) {
	pods, err := s.c.Pods()
	if err != nil {
		return nil, err
	}
	return findPod(pods, name)
}

// until tries again and again until the condition holds; a condition says what is still missing.
func (s *story) until(ctx context.Context, timeout time.Duration, cond func() (missing string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	missing := ""
	for {
		m, err := cond()
		if err == nil && m == "" {
			return nil
		}
		if err == nil {
			missing = m
		} else if ctx.Err() == nil {
			missing = err.Error()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("not after %s: %s", timeout, missing)
		}
	}
}

// watchWire captures the link between the nodes while f runs.
func (s *story) watchWire(f func() error, markers ...string) (capture.Report, error) {
	c, err := lab.StartCapture(s.c.Layout, "n1", "n2")
	if err != nil {
		return capture.Report{}, err
	}
	failed := f()
	frames, err := c.Stop()
	if err := errors.Join(failed, err); err != nil {
		return capture.Report{}, err
	}
	return capture.Analyse(frames, capture.Question{Markers: markers, Tunnel: 15008, Control: []uint16{15012}}), nil
}

func millis(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// saveLogs keeps the programs' logs of a failed demo where the reader can look at them.
func (s *story) saveLogs() {
	if s.e.stderr == nil {
		return
	}
	st, err := s.c.ReadState()
	if err != nil {
		return
	}
	for _, name := range st.ProgramNames() {
		if p := st.Programs[name]; p.Restarts > 0 || !p.Alive() {
			fmt.Fprintf(s.e.stderr, "--- %s (restarted %d times, last exit: %s)\n%s\n", name, p.Restarts, p.LastExit, lastLines(s.c.LogFile(name), 8))
		}
	}
	dir, err := os.MkdirTemp("", "weft-demo-logs-")
	if err == nil && os.CopyFS(dir, os.DirFS(s.c.Path("logs"))) == nil {
		fmt.Fprintf(s.e.stderr, "Logs of all programs: %s\n", dir)
	}
}
