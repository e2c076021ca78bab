package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The two hidden commands of weft-cluster that make a node. A cgroup namespace begins where the process that makes it
// stands, and a network namespace is a thread's: so node-enter moves itself first, then makes node-init in namespaces
// of its own, and ends.
const (
	nodeEnter = "node-enter"
	nodeInit  = "node-init"
)

// Hidden runs one of the hidden commands if the arguments (without the program's name) say so. Programs that call Up
// have to call it first in main, and tests in TestMain: they are started again as a node's first process.
func Hidden(args []string) {
	if len(args) != 2 || args[0] != nodeEnter && args[0] != nodeInit {
		return
	}
	run := enterNodeNamespaces
	if args[0] == nodeInit {
		run = runNode
	}
	spec, err := readNodeSpec(args[1])
	if err == nil {
		err = run(spec, args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", args[0], err)
		os.Exit(1)
	}
	os.Exit(0)
}

func readNodeSpec(file string) (nodeSpec, error) {
	var spec nodeSpec
	b, err := os.ReadFile(file)
	if err != nil {
		return spec, err
	}
	return spec, json.Unmarshal(b, &spec)
}

func enterNodeNamespaces(spec nodeSpec, file string) error {
	cg, err := findHierarchies()
	if err != nil {
		return err
	}
	if err := cg.enter(spec.Cgroup); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(spec.Logs, "node-"+spec.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", nodeInit, file)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP,
	}
	if err := inNetns(spec.Netns, cmd.Start); err != nil {
		return err
	}
	fmt.Println(cmd.Process.Pid)
	return nil
}
