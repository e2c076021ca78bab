package lab

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// command is a program to start in a place of its own.
type command struct {
	path    string    // absolute
	args    []string  // without the program's name
	env     []string  // whole environment; nil: PATH and HOME only
	netns   string    // named network namespace; "" is the caller's
	cgroup  string    // below the cgroup2 mount; made when missing
	private bool      // own mount and UTS namespace
	stdin   io.Reader // nil: empty
	stdout  io.Writer
	stderr  io.Writer
}

// start runs the command inside its namespace and cgroup, from its first instruction on.
func (c command) start() (*exec.Cmd, error) {
	cg, err := makeCgroup(c.cgroup)
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(cg)
	if err != nil {
		return nil, fmt.Errorf("open cgroup: %w", err)
	}
	defer dir.Close()
	cmd := exec.Command(c.path, c.args...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env, c.stdin, c.stdout, c.stderr
	if cmd.Env == nil {
		cmd.Env = BaseEnv()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if c.private {
		cmd.SysProcAttr.Unshareflags = unix.CLONE_NEWNS | unix.CLONE_NEWUTS
	}
	if c.netns == "" {
		err = cmd.Start()
	} else {
		err = InNetNS(c.netns, cmd.Start)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.path), err)
	}
	return cmd, nil
}

// BaseEnv is what programs of the lab inherit: nothing secret, nothing surprising.
func BaseEnv() []string {
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	if self, err := os.Executable(); err == nil {
		path = filepath.Dir(self) + ":" + path
	}
	return []string{"PATH=" + path, "HOME=/root", "LANG=C.UTF-8"}
}

// openLog opens a log file for appending; its directory is made.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// ProcessID names a process for good: a pid alone is used again.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in clock ticks since boot, field 22 of /proc/PID/stat
}

// OwnID names the calling process.
func OwnID() (ProcessID, error) { return identify(os.Getpid()) }

// identify reads the start time of a running process.
func identify(pid int) (ProcessID, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ProcessID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return ProcessID{}, fmt.Errorf("process %d: unexpected /proc/PID/stat", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return ProcessID{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return ProcessID{}, fmt.Errorf("process %d: start time: %w", pid, err)
	}
	return ProcessID{PID: pid, Start: start}, nil
}

// Alive reports whether this very process still runs.
func (p ProcessID) Alive() bool {
	if p.PID <= 1 {
		return false
	}
	now, err := identify(p.PID)
	return err == nil && now == p
}

// Signal sends a signal to this very process, never to another that took its pid.
func (p ProcessID) Signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.Alive() { // checked while the pidfd pins the identity
		return fmt.Errorf("process %d is gone: %w", p.PID, os.ErrProcessDone)
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
