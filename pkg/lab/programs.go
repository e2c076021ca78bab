package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// A program that ends is started again after firstRestart, doubling up to lastRestart; one that ran for
// resetRestart starts over.
const (
	firstRestart = 100 * time.Millisecond
	lastRestart  = 5 * time.Second
	resetRestart = 10 * time.Second
	// stopGrace is how long a program has between SIGTERM and SIGKILL when the lab goes down.
	stopGrace = time.Second
)

// program is something the supervisor keeps running.
type program struct {
	name   string // controller, ztunnel/n1, …
	path   string
	args   []string
	env    []string // beside BaseEnv
	node   string   // whose network namespace
	cgroup string
	before func() error // prepares each start, for instance a fresh token
	admin  string       // its admin socket, if it can be upgraded while it runs
}

// programs lists what a lab runs, in the order in which it is started.
func (s *supervisor) programs() []program {
	self, err := os.Executable()
	if err != nil {
		self = "/proc/self/exe"
	}
	var all []program
	for _, n := range s.NodeNames() {
		all = append(all,
			program{name: "proxy/" + n, path: self, args: []string{"lab", "node-proxy", "--name", s.Name}, node: n, cgroup: s.Cgroup(n, "proxy")},
			program{name: "kubelet/" + n, path: self, args: []string{"lab", "kubelet", "--name", s.Name, "--node", n}, node: n, cgroup: s.Cgroup(n, "kubelet")})
	}
	if s.NoMesh {
		return all
	}
	return append(all, s.meshPrograms()...)
}

// keep runs the program again and again until the context ends.
func (s *supervisor) keep(ctx context.Context, p program) {
	log := s.log.With(zap.String("program", p.name))
	backoff := firstRestart
	for restarts := 0; ctx.Err() == nil; restarts++ {
		began := time.Now()
		err := s.runOnce(ctx, p, restarts)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > resetRestart {
			backoff = firstRestart
		}
		log.Warn("program ended", zap.Error(err), zap.Duration("restart_in", backoff))
		_ = s.state.change(func(st *State) {
			prog := st.Programs[p.name]
			if prog == nil {
				prog = &Program{}
				st.Programs[p.name] = prog
			}
			prog.PID, prog.LastExit = 0, fmt.Sprint(err)
		})
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, lastRestart)
	}
}

// process is a program that runs.
type process struct {
	ProcessID
	cgroup string
	ended  chan error
}

// runOnce starts the program and returns when it, or the last of those that it was replaced by, has ended.
func (s *supervisor) runOnce(ctx context.Context, p program, restarts int) error {
	now, err := s.start(p)
	if err != nil {
		return err
	}
	s.note(p, now, restarts)
	for {
		select {
		case err := <-now.ended:
			return err
		case <-s.upgrades[p.name]:
			now = s.upgrade(ctx, p, now, restarts)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), now.stop(stopGrace))
		}
	}
}

// stop tells a process to end, and kills it if it does not.
func (p *process) stop(grace time.Duration) error {
	_ = p.Signal(syscall.SIGTERM) // it fails when the process has ended
	kill := time.AfterFunc(grace, func() { _ = p.Signal(syscall.SIGKILL) })
	defer kill.Stop()
	return <-p.ended
}

func (s *supervisor) start(p program) (*process, error) {
	if p.before != nil {
		if err := p.before(); err != nil {
			return nil, err
		}
	}
	out, err := openLog(s.LogFile(p.name))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := command{path: p.path, args: p.args, env: append(BaseEnv(), p.env...), netns: s.NodeNS(p.node), cgroup: p.cgroup, stdout: out, stderr: out}
	cmd, err := c.start()
	if err != nil {
		return nil, err
	}
	id, err := identify(cmd.Process.Pid) // it is there until it is waited for
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, errors.Join(err, cmd.Wait())
	}
	now := &process{ProcessID: id, cgroup: p.cgroup, ended: make(chan error, 1)}
	go func() { now.ended <- cmd.Wait() }()
	return now, nil
}

// note writes down which process the program is.
func (s *supervisor) note(p program, now *process, restarts int) {
	err := s.state.change(func(st *State) {
		last := ""
		if old := st.Programs[p.name]; old != nil {
			last = old.LastExit
		}
		st.Programs[p.name] = &Program{ProcessID: now.ProcessID, Since: time.Now(), Restarts: restarts, LastExit: last}
	})
	if err != nil {
		s.log.Warn("cannot note the program's state", zap.String("program", p.name), zap.Error(err))
	}
}

func (s *supervisor) bin(name string) string { return filepath.Join(s.BinDir, name) }
