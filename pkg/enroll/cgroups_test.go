package enroll

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weftmesh/weft/pkg/zds"
)

type cgroupSet map[uint64]bool

func (s cgroupSet) AddZtunnelCgroup(id uint64) error {
	if id == 1 {
		return errors.New("cgroup id 1 is the root's")
	}
	s[id] = true
	return nil
}
func (s cgroupSet) RemoveZtunnelCgroup(id uint64) error { delete(s, id); return nil }
func (s cgroupSet) ZtunnelCgroups() ([]uint64, error)   { return slices.Sorted(maps.Keys(s)), nil }

// cgroupDir makes what looks like a cgroup.
func cgroupDir(t *testing.T, root, name string, populated bool) (path string, id uint64) {
	t.Helper()
	path = filepath.Join(root, name)
	text := "populated 0\nfrozen 0\n"
	if populated {
		text = "populated 1\nfrozen 0\n"
	}
	if err := errors.Join(os.MkdirAll(path, 0o755), os.WriteFile(filepath.Join(path, "cgroup.events"), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return path, inode(path)
}

func TestCgroups(t *testing.T) {
	// As it is given where the hierarchy is only held by a descriptor: a link.
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Symlink(t.TempDir(), root); err != nil {
		t.Fatal(err)
	}
	of := map[int]string{}
	newCgroups := func(set cgroupSet) *Cgroups {
		c, err := NewCgroups(CgroupOptions{Map: set, Root: root, Of: func(_ string, pid int) (string, uint64, error) {
			path, ok := of[pid]
			if !ok {
				return "", 0, os.ErrNotExist
			}
			if path == root {
				return path, 1, nil
			}
			return path, inode(path), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	set := cgroupSet{}
	c := newCgroups(set)
	sweep := func(c *Cgroups) {
		t.Helper()
		if err := c.Sweep(); err != nil {
			t.Fatal(err)
		}
	}
	of[10] = root
	if c.Admit(zds.Peer{ID: 1, PID: 10}) == nil || c.Admit(zds.Peer{ID: 2, PID: 11}) == nil {
		t.Error("admitted from the root cgroup or from nowhere")
	}
	path, id := cgroupDir(t, root, "node/zt1", true)
	of[12] = path
	if err := c.Admit(zds.Peer{ID: 3, PID: 12}); err != nil || !set[id] {
		t.Fatal(err, set)
	}
	// It has disconnected and drains.
	c.Gone(zds.Peer{ID: 3})
	for range 3 {
		sweep(c)
	}
	if !set[id] {
		t.Error("a draining ztunnel may not send any more")
	}
	cgroupDir(t, root, "node/zt1", false) // it has ended
	sweep(c)
	if !set[id] {
		t.Error("its last packets are cut off")
	}
	sweep(c)
	if set[id] {
		t.Error("a dead ztunnel's cgroup may send for ever")
	}

	// A connected one keeps the right, populated or not.
	path2, id2 := cgroupDir(t, root, "node/zt2", false)
	of[13] = path2
	if err := c.Admit(zds.Peer{ID: 4, PID: 13}); err != nil {
		t.Fatal(err)
	}
	sweep(c)
	sweep(c)
	if !set[id2] {
		t.Error("a connected ztunnel lost its right")
	}

	// A new agent knows neither paths nor peers: the living stay, the dead and vanished go.
	_, alive := cgroupDir(t, root, "deep/down/zt3", true)
	set[alive], set[1<<60] = true, true
	c = newCgroups(set)
	for range 2 {
		sweep(c)
	}
	if got := slices.Sorted(maps.Keys(set)); !slices.Equal(got, []uint64{alive}) {
		t.Errorf("left: %v, want only %d", got, alive)
	}
}

// Sockets that a living ztunnel has taken over keep the right of the cgroup that made them, though it is gone.
func TestCgroupsOfSockets(t *testing.T) {
	root := t.TempDir()
	path, id := cgroupDir(t, root, "zt", true)
	set, live, complete := cgroupSet{}, map[uint64]bool{}, true
	c, err := NewCgroups(CgroupOptions{Map: set, Root: root, Sockets: func() (map[uint64]bool, bool) { return live, complete },
		Of: func(_ string, pid int) (string, uint64, error) { return path, id + uint64(pid-1), nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Admit(zds.Peer{ID: 1, PID: 1}); err != nil {
		t.Fatal(err)
	}
	if c.Knows(1) != nil || c.Knows(2) == nil {
		t.Error("who is a ztunnel is not known")
	}
	c.Gone(zds.Peer{ID: 1})
	cgroupDir(t, root, "zt", false)
	live[id] = true
	for i, step := range []struct{ complete, want bool }{{true, true}, {true, true}, {false, true}, {false, true}, {true, true}, {true, false}} {
		complete = step.complete
		if i == 2 {
			delete(live, id)
		}
		if err := c.Sweep(); err != nil || set[id] != step.want {
			t.Fatalf("step %d: %v, the right is there: %v", i, err, set[id])
		}
	}
}
