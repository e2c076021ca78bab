package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/zds"
)

// CgroupMap is the set of cgroups whose sockets may send from inside pods: a *bpf.Redirector.
type CgroupMap interface {
	AddZtunnelCgroup(id uint64) error
	RemoveZtunnelCgroup(id uint64) error
	ZtunnelCgroups() ([]uint64, error)
}

// CgroupOptions configure Cgroups.
type CgroupOptions struct {
	Map CgroupMap
	// Root is the mount point of cgroup2. Empty: the one in /proc/self/mountinfo.
	Root string
	// Of finds a process's cgroup. nil: bpf.CgroupOf, for tests to replace.
	Of func(root string, pid int) (path string, id uint64, err error)
	// Sockets are the cgroups that made sockets which live in pods now; complete tells that no pod was left out. A
	// ztunnel may go on with the sockets of one that it has replaced. nil: none does.
	Sockets func() (ids map[uint64]bool, complete bool)
	Log     *zap.Logger // nil: none
}

// Cgroups admits ztunnels by their cgroups. A ztunnel that has disconnected may still drain, so its cgroup
// keeps the right for as long as a process lives in it, or another one has sockets that were made in it; Sweep takes
// it back afterwards.
type Cgroups struct {
	o CgroupOptions

	mu    sync.Mutex        // protects what follows
	peers map[uint64]uint64 // cgroup ids of connected ztunnels, by connection
	paths map[uint64]string // of ids, as far as known
	empty map[uint64]bool   // ids that nothing lived in at the last sweep
}

// NewCgroups makes Cgroups.
func NewCgroups(o CgroupOptions) (*Cgroups, error) {
	if o.Root == "" {
		root, err := bpf.CgroupRoot()
		if err != nil {
			return nil, err
		}
		o.Root = root
	}
	if o.Of == nil {
		o.Of = bpf.CgroupOf
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Cgroups{o: o, peers: map[uint64]uint64{}, paths: map[uint64]string{}, empty: map[uint64]bool{}}, nil
}

// Admit implements Admitter.
func (c *Cgroups) Admit(p zds.Peer) error {
	path, id, err := c.o.Of(c.o.Root, p.PID)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.o.Map.AddZtunnelCgroup(id); err != nil {
		return fmt.Errorf("process %d in %s: %w", p.PID, path, err)
	}
	c.peers[p.ID], c.paths[id] = id, path
	delete(c.empty, id)
	return nil
}

// Gone implements Admitter.
func (c *Cgroups) Gone(p zds.Peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.peers, p.ID)
}

// Sweep takes the right back from cgroups that neither a connected ztunnel nor any other process has lived
// in at this sweep and the one before: what a dead ztunnel had sent is out by then.
func (c *Cgroups) Sweep() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, err := c.o.Map.ZtunnelCgroups()
	if err != nil {
		return err
	}
	used := map[uint64]bool{}
	for _, id := range c.peers {
		used[id] = true
	}
	var errs []error
	var sockets func(uint64) bool
	for _, id := range ids {
		alive := used[id] || c.lives(id)
		if !alive && c.o.Sockets != nil {
			if sockets == nil {
				sockets = c.sockets()
			}
			alive = sockets(id)
		}
		if alive {
			delete(c.empty, id)
			continue
		}
		if !c.empty[id] {
			c.empty[id] = true
			continue
		}
		if err := c.o.Map.RemoveZtunnelCgroup(id); err != nil {
			errs = append(errs, err)
			continue
		}
		c.o.Log.Info("cgroup of a former ztunnel may not send any more", zap.String("cgroup", c.paths[id]), zap.Uint64("id", id))
		delete(c.empty, id)
		delete(c.paths, id)
	}
	return errors.Join(errs...)
}

// sockets finds out which cgroups' sockets live.
func (c *Cgroups) sockets() func(id uint64) bool {
	ids, complete := c.o.Sockets()
	return func(id uint64) bool { return ids[id] || !complete }
}

// Knows reports by an error that a process is no ztunnel: its cgroup has not been admitted.
func (c *Cgroups) Knows(pid int) error {
	path, id, err := c.o.Of(c.o.Root, pid)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ids, err := c.o.Map.ZtunnelCgroups()
	if err == nil && !slices.Contains(ids, id) {
		err = fmt.Errorf("process %d in %s is no ztunnel of this node", pid, path)
	}
	return err
}

// lives tells whether a cgroup exists and has processes.
func (c *Cgroups) lives(id uint64) bool {
	path, ok := c.paths[id]
	if !ok || inode(path) != id {
		if path = c.find(id); path == "" {
			return false
		}
		c.paths[id] = path
	}
	b, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
	return err == nil && strings.Contains(string(b), "populated 1")
}

// find looks for a cgroup that a former agent admitted.
func (c *Cgroups) find(id uint64) (path string) {
	// What vanishes meanwhile is none that lives. The slash: WalkDir does not follow a root that is a link, and
	// a descriptor below /proc/self/fd is one.
	_ = filepath.WalkDir(c.o.Root+"/", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir
		case err != nil || !d.IsDir():
			return nil
		case inode(p) == id:
			path = p
			return fs.SkipAll
		}
		return nil
	})
	return path
}

func inode(path string) uint64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
