package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a started program. Pids come round again, so its start tells it from a later one of the same pid.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot
}

// program is what to start.
type program struct {
	argv   []string
	env    []string // beside those of this process
	log    string   // file that takes its output, appended
	cgroup string   // directory in cgroup2
	netns  string   // name; empty stays
}

// start starts a program that outlives this one.
func (p program) start() (process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return process{}, err
	}
	defer log.Close()
	group, err := os.Open(p.cgroup)
	if err != nil {
		return process{}, err
	}
	defer group.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	start := cmd.Start
	if p.netns != "" {
		start = func() error { return inNetns(p.netns, cmd.Start) }
	}
	if err := start(); err != nil {
		return process{}, fmt.Errorf("starting %s: %w", filepath.Base(p.argv[0]), err)
	}
	go func() { _ = cmd.Wait() }() // a killed program is no zombie while we live
	return lookup(cmd.Process.Pid)
}

// lookup reads when a pid began.
func lookup(pid int) (process, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("process %d ended at once: %w", pid, err)
	}
	// the name in parentheses may hold anything, so fields are counted after it: start is field 22, state field 3
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return process{PID: pid, Start: start}, err
}

// alive tells whether this very process runs.
func (p process) alive() bool {
	now, err := lookup(p.PID)
	return err == nil && now == p
}

// signal sends a signal to this process or to none: the pidfd holds it while the start is compared.
func (p process) signal(s unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() {
		return fmt.Errorf("process %d: %w", p.PID, os.ErrProcessDone)
	}
	if err := unix.PidfdSendSignal(fd, s, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal to process %d: %w", p.PID, err)
	}
	return nil
}

// kill ends this process and returns when all its threads have let go of what they held: a leader is a zombie before that.
func (p process) kill(wait time.Duration) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	for end := time.Now().Add(wait); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds())+1)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("waiting for process %d: %w", p.PID, err)
		case time.Now().After(end):
			return fmt.Errorf("process %d still runs %s after SIGKILL", p.PID, wait)
		}
	}
}
