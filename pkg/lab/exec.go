package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// Streams of a command inside a pod; nil ones are empty or thrown away.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exec runs a command as a process of the pod: in its network, cgroup, name and files. The error is an
// *exec.ExitError when the command ended badly. When the context ends, the command is killed.
func Exec(ctx context.Context, l Layout, p *corev1.Pod, argv []string, s Streams) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := InPod(l, self, p, argv)
	c.stdin, c.stdout, c.stderr = s.In, s.Out, s.Err
	if term := os.Getenv("TERM"); term != "" {
		c.env = append(BaseEnv(), "TERM="+term)
	}
	cmd, err := c.start()
	if err != nil {
		return fmt.Errorf("run in pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	return cmd.Wait()
}

// ExitCode is what a shell would make of the end of a command: 128 and the signal when it was killed.
func ExitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// PodReady reports whether a pod is ready and not about to go.
func PodReady(p *corev1.Pod) bool { return isReady(p) }

// Kill ends one supervised program with SIGKILL and returns the pid it had; the supervisor starts it again.
func Kill(l Layout, program string) (pid int, err error) {
	st, err := l.ReadState()
	if err != nil {
		return 0, err
	}
	p := st.Programs[program]
	if p == nil {
		return 0, fmt.Errorf("no program %q in lab %s, only %v", program, l.Name, st.ProgramNames())
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill %s: %w", program, err)
	}
	return p.PID, nil
}
