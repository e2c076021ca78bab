package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Options say which cluster.
type Options struct {
	Index     int       // 0 to 9: names, addresses and folders of clusters with different ones never meet
	Nodes     int       // 1 to 50; default 2
	ProxyMode string    // of kube-proxy: nftables (default) or iptables
	Family    string    // of addresses: ipv4 (default), or dual, where nodes, pods and Services have IPv6 ones, too
	Images    []string  // archives that are loaded into every node before its kubelet starts
	Dir       string    // for everything built and running; default ~/.cache/weft-e2e (XDG_CACHE_HOME is heeded)
	Log       io.Writer // is told each step; nil is silent
}

// Cluster is one that was raised, by this program or another.
type Cluster struct {
	layout
	opts  Options
	state state
	cg    hierarchies
}

// state is what is kept about a running cluster.
type state struct {
	Nodes     int                `json:"nodes"`
	ProxyMode string             `json:"proxyMode"`
	Family    string             `json:"family"`
	Images    []string           `json:"images"`
	Built     built              `json:"built"`
	Processes map[string]process `json:"processes"` // control plane's programs and "n1", …: pid 1 of each node
}

func (o *Options) complete() error {
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.ProxyMode == "" {
		o.ProxyMode = "nftables"
	}
	if o.Family == "" {
		o.Family = "ipv4"
	}
	if o.Dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no folder for built things: %w", err)
		}
		o.Dir = filepath.Join(cache, "weft-e2e")
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	for i := range o.Images {
		if o.Images[i], err = filepath.Abs(o.Images[i]); err != nil {
			return err
		}
	}
	switch {
	case o.Index < 0 || o.Index > maxIndex:
		return fmt.Errorf("index %d: want 0 to %d", o.Index, maxIndex)
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, maxNodes)
	case o.ProxyMode != "nftables" && o.ProxyMode != "iptables":
		return fmt.Errorf("proxy mode %q: want nftables or iptables", o.ProxyMode)
	case o.Family != "ipv4" && o.Family != "dual":
		return fmt.Errorf("family %q: want ipv4 or dual", o.Family)
	case os.Geteuid() != 0:
		return errors.New("a cluster needs root: it makes namespaces, cgroups and bridges")
	}
	return nil
}

func (o Options) store() Store { return Store{Dir: filepath.Join(o.Dir, "store"), Log: o.Log} }

// run is the folder of the running cluster.
func (c *Cluster) run(parts ...string) string {
	return filepath.Join(append([]string{c.opts.Dir, "run", fmt.Sprint(c.index)}, parts...)...)
}

func (c *Cluster) logFile(name string) string { return c.run("log", name+".log") }

// LogDir holds a log of every program of the control plane and of every node.
func (c *Cluster) LogDir() string { return c.run("log") }

// Kubeconfig is the file of the cluster's administrator.
func (c *Cluster) Kubeconfig() string { return c.run("pki", "admin.kubeconfig") }

// Kubectl is the program's file.
func (c *Cluster) Kubectl() string { return c.state.Built.kubectl() }

// Helm is the program's file.
func (c *Cluster) Helm() string { return c.state.Built.helmBinary() }

// Nodes are the names of the nodes.
func (c *Cluster) Nodes() []string {
	var names []string
	for n := 1; n <= c.state.Nodes; n++ {
		names = append(names, nodeName(n))
	}
	return names
}

// save writes the state in one step: what reads it sees the old or the new one.
func (c *Cluster) save() error {
	b, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	tmp := c.run("state.json.new")
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, c.run("state.json"))
}

// Open finds a cluster that was raised before; fs.ErrNotExist if there is none.
func Open(o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(c.run("state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no cluster with index %d: weft-cluster up --index %d raises one: %w", o.Index, o.Index, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &c.state); err != nil {
		return nil, fmt.Errorf("%s is damaged, `weft-cluster down` still works: %w", c.run("state.json"), err)
	}
	c.dual = c.state.Family == "dual"
	return c, nil
}

// prepare knows the cluster's names and does nothing yet.
func prepare(o Options) (*Cluster, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	cg, err := findHierarchies()
	if err != nil {
		return nil, err
	}
	return &Cluster{layout: layout{o.Index, o.Family == "dual"}, opts: o, cg: cg}, nil
}

// Disk is where a file of a node that outlives a reboot is on this machine.
func (c *Cluster) Disk(node, path string) string { return c.run(node, "disk", path) }
