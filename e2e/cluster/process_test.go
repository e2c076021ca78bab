package cluster

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// A pid that came round again is another process: it is neither taken for alive nor killed.
func TestForeignProcessIsLeftAlone(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := lookup(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	former := process{PID: p.PID, Start: p.Start - 1}
	if former.alive() {
		t.Error("a process that began at another time is taken for the same")
	}
	if err := former.signal(unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signal to a former process: %v", err)
	}
	if !p.alive() {
		t.Fatal("the foreign process was killed")
	}
	if err := p.signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if p.alive() {
		t.Error("it lives on")
	}
	if err := p.signal(unix.SIGKILL); err == nil {
		t.Error("signal to a process that has ended: no error")
	}
}
