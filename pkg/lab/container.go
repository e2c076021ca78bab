package lab

import (
	"context"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Restarts wait from firstBackoff, doubling up to lastBackoff; a container that ran for resetBackoff
// starts over.
const (
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 30 * time.Second
	resetBackoff = time.Minute
)

// container keeps one process of a pod running.
type container struct {
	pod  *podRuntime
	spec *corev1.Container
	log  *zap.Logger

	mu       sync.Mutex // protects the fields below
	running  *metav1.Time
	exit     *corev1.ContainerStateTerminated
	waiting  string
	ready    bool
	restarts int32
}

func newContainer(r *podRuntime, spec *corev1.Container) *container {
	return &container{pod: r, spec: spec, log: r.log.With(zap.String("container", spec.Name)), waiting: "ContainerCreating"}
}

// run starts the process again and again until the context ends or the restart policy is content.
func (c *container) run(ctx context.Context) {
	backoff := firstBackoff
	for {
		began := time.Now()
		code, err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.log.Error("cannot start", zap.Error(err))
		}
		policy := c.pod.pod.Spec.RestartPolicy
		if policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && code == 0 && err == nil {
			<-ctx.Done()
			return
		}
		if time.Since(began) > resetBackoff {
			backoff = firstBackoff
		}
		c.log.Warn("container ended", zap.Int("code", code), zap.Duration("restart_in", backoff))
		c.change(func() { c.waiting, c.restarts = "CrashLoopBackOff", c.restarts+1 })
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

// once runs the process to its end. When the context ends first, it is asked to stop and killed after the
// pod's grace period.
func (c *container) once(ctx context.Context) (code int, err error) {
	cmd, err := c.pod.launch(c.spec)
	if err != nil {
		c.change(func() { c.waiting = "CreateContainerError: " + err.Error() })
		return 1, err
	}
	now := metav1.Now()
	c.change(func() { c.running, c.waiting, c.ready = &now, "", c.spec.ReadinessProbe == nil })
	probing, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	if c.spec.ReadinessProbe != nil {
		wg.Go(func() { c.probeReadiness(probing) })
	}
	if c.spec.LivenessProbe != nil {
		wg.Go(func() { c.probeLiveness(probing, cmd) })
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = c.terminate(cmd, ended)
	}
	stop()
	wg.Wait()
	code = ExitCode(err)
	c.change(func() {
		c.running, c.ready = nil, false
		c.exit = &corev1.ContainerStateTerminated{ExitCode: int32(code), FinishedAt: metav1.Now()}
	})
	return code, nil
}

// terminate is SIGTERM, the grace period, SIGKILL.
func (c *container) terminate(cmd *exec.Cmd, ended <-chan error) error {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-time.After(time.Duration(*c.pod.pod.Spec.TerminationGracePeriodSeconds) * time.Second):
	}
	_ = cmd.Process.Kill()
	return <-ended
}

// change edits the state under the lock, then publishes the pod.
func (c *container) change(edit func()) {
	c.mu.Lock()
	edit()
	c.mu.Unlock()
	c.pod.publish()
}

func (c *container) status() corev1.ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := corev1.ContainerStatus{Name: c.spec.Name, Image: c.spec.Image, Ready: c.ready && c.running != nil, RestartCount: c.restarts}
	switch {
	case c.running != nil:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: *c.running}
	case c.waiting != "":
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.waiting}
	default:
		s.State.Terminated = c.exit
	}
	return s
}
