package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/bootstrap"
)

const (
	minRestart = 200 * time.Millisecond
	maxRestart = 10 * time.Second
	// healthyAfter is how long a run must have lasted for the wait to start from minRestart again.
	healthyAfter = 30 * time.Second
	// stopTimeout is how long Envoy may take to end before it is killed.
	stopTimeout = 5 * time.Second
	// statsTimeout is how long Envoy's metrics may take to be read: of thousands of clusters they are many.
	statsTimeout = 30 * time.Second
)

// logFormat is Envoy's own, but that newlines of messages are escaped: what a module logs is in no line's beginning.
const logFormat = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %_"

// envoy is the child process, run again whenever it ends.
type envoy struct {
	binary, dir, logLevel string
	concurrency           int
	out                   io.Writer
	ended                 func(said string) // told of each end, with what Envoy said last; nil nobody
	log                   *zap.Logger
	admin                 *http.Client
	restarts              atomic.Uint64
	stopping              atomic.Bool
	reading               sync.Mutex // held while somebody reads stats
}

func newEnvoy(o Options, dir, binary string) *envoy {
	e := &envoy{binary: binary, dir: dir, logLevel: o.LogLevel, concurrency: o.Concurrency, out: o.Err, log: o.Logger}
	if e.concurrency <= 0 {
		e.concurrency = runtime.GOMAXPROCS(0) // follows the cgroup's CPU limit
	}
	e.admin = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, bootstrap.AdminSocket))
		},
	}}
	return e
}

// supervise runs Envoy until ctx ends or drain stopped it. It gives up only when Envoy cannot even be
// started.
func (e *envoy) supervise(ctx context.Context) error {
	// The kernel sends Pdeathsig when the thread that started the child ends, so it must not end early.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := minRestart
	for {
		start := time.Now()
		err := e.once(ctx)
		if ctx.Err() != nil || e.stopping.Load() {
			return nil
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("start envoy: %w", err)
		}
		if time.Since(start) > healthyAfter {
			wait = minRestart
		}
		e.restarts.Add(1)
		e.log.Error("envoy ended, starting it again", zap.Error(err), zap.Duration("in", wait))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRestart)
	}
}

func (e *envoy) once(ctx context.Context) error {
	args := append(bootstrap.DrainArgs(), "-c", filepath.Join(e.dir, bootstrap.File), "--concurrency", strconv.Itoa(e.concurrency),
		"--log-level", e.logLevel, "--log-format", logFormat, "--use-dynamic-base-id", "--file-flush-interval-msec", "1000")
	cmd := exec.Command(e.binary, args...)
	said := &tail{}
	out := io.MultiWriter(e.out, said)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	defer close(done)
	stop := context.AfterFunc(ctx, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
		}
	})
	defer stop()
	err := cmd.Wait()
	if e.ended != nil {
		e.ended(said.String())
	}
	return err
}

// call asks the admin page.
func (e *envoy) call(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return "", err
	}
	res, err := e.admin.Do(req)
	if err != nil {
		return "", fmt.Errorf("envoy's admin page: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return "", fmt.Errorf("envoy's admin page: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("envoy answers %s with %d: %s", path, res.StatusCode, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// stats passes on Envoy's own metrics: those that were ever used, or with ?filter=REGEX those whose name it finds.
// Nothing else of the admin page is to be reached so.
func (e *envoy) stats(w http.ResponseWriter, r *http.Request) {
	ask := url.Values{"usedonly": {""}}
	if filter := r.URL.Query().Get("filter"); filter != "" {
		ask.Set("filter", filter)
	}
	ctx, cancel := context.WithTimeout(r.Context(), statsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://envoy/stats/prometheus?"+ask.Encode(), nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	e.reading.Lock() // Envoy's main thread writes them: one reader at a time
	defer e.reading.Unlock()
	res, err := (&http.Client{Transport: e.admin.Transport}).Do(req)
	if err != nil {
		http.Error(w, "Envoy does not answer, it may be starting: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer res.Body.Close()
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(w, res.Body); err != nil {
		panic(http.ErrAbortHandler) // so that a part is not taken for all
	}
}

// ready reports whether Envoy has its configuration and listens for ztunnels.
func (e *envoy) ready(ctx context.Context) error {
	if _, err := e.call(ctx, http.MethodGet, "/ready"); err != nil {
		return err
	}
	listeners, err := e.call(ctx, http.MethodGet, "/listeners")
	if err != nil {
		return err
	}
	if !strings.Contains(listeners, "hbone::") {
		return errors.New("envoy has no hbone listener yet: the controller has not sent this waypoint's configuration")
	}
	return nil
}

// listenOn is how long a waypoint that ends takes connections from those who have not heard of it.
const listenOn = 5 * time.Second

// drain asks clients to go, waits until none is left or limit is over, and ends Envoy.
func (e *envoy) drain(ctx context.Context, limit time.Duration) {
	e.log.Info("draining", zap.Duration("for", limit))
	if _, err := e.call(ctx, http.MethodPost, "/drain_listeners?graceful"); err != nil {
		e.log.Warn("cannot drain", zap.Error(err))
	} else if !e.waitIdle(ctx, min(limit, listenOn)) && limit > listenOn {
		if _, err := e.call(ctx, http.MethodPost, "/drain_listeners"); err != nil {
			e.log.Warn("cannot close listeners", zap.Error(err))
		}
		e.waitIdle(ctx, limit-listenOn)
	}
	e.stopping.Store(true)
	if _, err := e.call(ctx, http.MethodPost, "/quitquitquit"); err != nil {
		e.log.Warn("cannot ask envoy to end, it will be told by a signal", zap.Error(err))
	}
}

// waitIdle reports whether no client is left.
func (e *envoy) waitIdle(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		stats, err := e.call(ctx, http.MethodGet, "/stats?filter=^http.hbone.downstream_cx_active$")
		if err == nil && strings.HasSuffix(strings.TrimSpace(stats), " 0") {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
