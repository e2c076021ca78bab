// Package trial lets an Envoy of its own judge configuration before the Envoy that serves is given it.
//
// The launcher of a waypoint calls it for what an EnvoyPatch has changed. The candidate, clusters and route
// configurations, stands as static resources in a bootstrap that otherwise is the waypoint's own, and `envoy --mode
// validate` builds everything from it that a serving Envoy would, without a socket or a connection. It takes some 0.1 s.
// A candidate at which Envoy crashes, hangs or eats memory costs that process alone.
//
// Nothing but an orderly "OK" counts as acceptance.
package trial

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// Limit is how long a trial may take, and perMiB how much longer for each MiB of the candidate: Envoy takes a second or
// two for one on a busy machine.
const (
	Limit  = 6 * time.Second
	perMiB = 6 * time.Second
)

// maxMemory is what a trial may allocate, in bytes, where the container has as much left; it takes some 100 MiB.
const maxMemory = 1 << 30

// Outcome of a trial, a label of metrics.
type Outcome string

// Outcomes.
const (
	Accepted Outcome = "accepted"
	Refused  Outcome = "refused" // by Envoy, in words
	Crashed  Outcome = "crashed"
	Hung     Outcome = "hung"
	NotRun   Outcome = "not_run"
)

// Refusal says why a candidate may not be served.
type Refusal struct {
	Outcome Outcome
	Words   string // Envoy's, or our own
}

// How a Refusal begins.
const (
	tried    = "tried before it is served"
	notTried = "not tried, and therefore not served"
)

func (r *Refusal) Error() string {
	switch r.Outcome {
	case Refused:
		return tried + ": " + r.Words
	case Crashed:
		return tried + ", and Envoy crashes: " + r.Words
	case Hung:
		return tried + ", and Envoy hangs: " + r.Words
	}
	return notTried + ": " + r.Words
}

// Said reports that a text is a Refusal's, or that of a trial that goes on.
func Said(detail string) bool {
	return strings.HasPrefix(detail, tried) || strings.HasPrefix(detail, notTried) || strings.HasPrefix(detail, pending)
}

// OutcomeOf reads what Run returns.
func OutcomeOf(err error) Outcome {
	r := (*Refusal)(nil)
	switch {
	case err == nil:
		return Accepted
	case errors.As(err, &r):
		return r.Outcome
	}
	return NotRun
}

// Options of trials.
type Options struct {
	// Binary of Envoy. Required.
	Binary string
	// Dir gets the candidates' bootstraps, which are removed afterwards. Required.
	Dir string
	// Limit is how long a trial may take. Default Limit, and 6 s more for each MiB of the candidate.
	Limit time.Duration
	// Memory is how many bytes a trial may allocate. Default 1 GiB, or three quarters of what is left of the
	// container's limit if that is less.
	Memory uint64
}

// limitOf is how long a candidate of a size in bytes may take.
func limitOf(size int) time.Duration { return Limit + time.Duration(size)*perMiB>>20 }

// Run tries a candidate; nil accepts it, any other error is a *Refusal but for the end of ctx. Safe for concurrent use.
func Run(ctx context.Context, o Options, c Candidate) error {
	o.Limit = cmp.Or(o.Limit, limitOf(c.size()))
	if o.Memory == 0 {
		left, err := allowance(ownCgroup)
		if err != nil {
			return &Refusal{NotRun, err.Error()}
		}
		o.Memory = left
	}
	file, err := c.write(o.Dir)
	if err != nil {
		return &Refusal{NotRun, err.Error()}
	}
	defer os.Remove(file)
	limited, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	said, err := validate(limited, o, file)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case limited.Err() != nil:
		return &Refusal{Hung, fmt.Sprintf("no verdict within %v", o.Limit)}
	case !errors.As(err, &exit):
		return &Refusal{NotRun, err.Error()}
	case exit.ExitCode() < 0:
		return &Refusal{Crashed, strings.TrimSuffix(exit.String()+": "+words(said, file), ": ")}
	}
	return &Refusal{Refused, words(said, file)}
}

// validate runs Envoy to its end and returns what it said.
func validate(ctx context.Context, o Options, file string) (string, error) {
	// The kernel sends Pdeathsig when the thread that started the child ends, so it must not end early.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var out tail
	cmd := exec.CommandContext(ctx, o.Binary, "--mode", "validate", "-c", file, "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "", err
	}
	confine(cmd.Process.Pid, o.Memory)
	err := cmd.Wait()
	return out.b.String(), err
}

// confine bounds what a trial may take from those beside it. Where the kernel does not let us, it runs all the same:
// its time is bounded.
func confine(pid int, memory uint64) {
	for resource, limit := range map[int]uint64{unix.RLIMIT_DATA: memory, unix.RLIMIT_CORE: 0} {
		_ = unix.Prlimit(pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil)
	}
	// Out of memory, the trial goes first and not the Envoy that serves.
	_ = os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"), []byte("1000"), 0)
}

// words is what Envoy says of a candidate, without the prefixes of its log and the name of our file.
func words(said, file string) string {
	var last string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		_, text, logged := strings.Cut(line, "] ")
		switch {
		case line == "" || strings.Contains(line, "[backtrace]"):
		case logged && strings.Contains(line, "[critical]"):
			return unprefixed(text, file)
		default:
			last = line
		}
	}
	return unprefixed(last, file)
}

// unprefixed cuts further brackets of the log (thread, level, source) off a line.
func unprefixed(text, file string) string {
	for strings.HasPrefix(text, "[") {
		_, rest, ok := strings.Cut(text, "] ")
		if !ok {
			break
		}
		text = rest
	}
	text = strings.ReplaceAll(text, "error initializing configuration '"+file+"': ", "")
	return strings.ReplaceAll(text, file, "the candidate")
}

// tail keeps the beginning of what a process prints: a crash's first words count.
type tail struct{ b bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	t.b.Write(p[:min(len(p), max(0, 64<<10-t.b.Len()))])
	return len(p), nil
}

func marshal(dir string, m proto.Message) (file string, err error) {
	text, err := proto.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("write the candidate: %w", err)
	}
	f, err := os.CreateTemp(dir, "trial-*.pb")
	if err != nil {
		return "", fmt.Errorf("write the candidate: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("write the candidate: %w", err)
	}
	return f.Name(), nil
}
