package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
)

// A kubelet comes, restarts (another cgroup of the same name) and goes.
func TestKubeletRestarts(t *testing.T) {
	privileged(t)
	root, err := bpf.CgroupRoot()
	must(t, err)
	path := filepath.Join(root, fmt.Sprintf("wft-agent-kubelet-%d", os.Getpid()))
	t.Cleanup(func() { os.Remove(path) })
	var set []uint64
	calls := 0
	k := kubelet{paths: []string{path}, log: zap.NewNop(), set: func(ids ...uint64) error {
		set = ids
		calls++
		return nil
	}}
	refresh := func(wantCalls, wantIDs int) {
		t.Helper()
		must(t, k.refresh())
		must(t, k.refresh())
		if calls != wantCalls || len(set) != wantIDs {
			t.Fatalf("%d calls, ids %v", calls, set)
		}
	}
	refresh(1, 0)
	must(t, os.Mkdir(path, 0o755))
	refresh(2, 1)
	first := set[0]
	must(t, errors.Join(os.Remove(path), os.Mkdir(path, 0o755)))
	refresh(3, 1)
	if set[0] == first {
		t.Error("still the former cgroup")
	}
	must(t, os.Remove(path))
	refresh(4, 0)
	k.paths = []string{t.TempDir()}
	if k.refresh() == nil {
		t.Error("no cgroup, and nobody says so")
	}
}
