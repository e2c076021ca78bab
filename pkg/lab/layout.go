package lab

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
)

// StateRoot holds a directory for each lab.
const StateRoot = "/run/weft-lab"

// bpffs is where eBPF objects are pinned.
const bpffs = "/sys/fs/bpf"

// Addresses that all labs use; each lab is a network of its own.
var (
	serviceCIDR4 = netip.MustParsePrefix("10.96.0.0/16")
	serviceCIDR6 = netip.MustParsePrefix("fd00:96::/112")
	// DNSAddress is where every pod's resolv.conf points: the node proxy of its own node.
	DNSAddress = netip.MustParseAddr("10.96.0.10")
)

// ControllerHost is the controller's name in a cluster's DNS.
const ControllerHost = "weft-controller.weft-system.svc." + ClusterDomain

// ClusterDomain is the DNS domain of a lab's services.
const ClusterDomain = "cluster.local"

// Layout says what a lab's things are called and where they are. It is plain data derived from a name.
type Layout struct {
	Name  string // of the lab: letters and digits
	Nodes int    // 1 to 5
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// Validate reports a name or number of nodes that cannot be.
func (l Layout) Validate() error {
	if !validName.MatchString(l.Name) {
		return fmt.Errorf("lab name %q: want a letter and then up to 11 letters or digits, all lower case", l.Name)
	}
	if l.Nodes < 1 || l.Nodes > 5 {
		return fmt.Errorf("%d nodes: a lab has 1 to 5", l.Nodes)
	}
	return nil
}

// Prefix begins the name of every network namespace of this lab.
func (l Layout) Prefix() string { return "weft-" + l.Name + "-" }

// NodeNames are n1, n2, …
func (l Layout) NodeNames() []string {
	names := make([]string, l.Nodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%d", i+1)
	}
	return names
}

// NodeNS is the network namespace of a node.
func (l Layout) NodeNS(node string) string { return l.Prefix() + node }

// PodNS is the network namespace of a pod.
func (l Layout) PodNS(namespace, name string) string { return l.Prefix() + namespace + "-" + name }

// NetNSPattern is what agents are told to find a pod's namespace by.
func (l Layout) NetNSPattern() string {
	return filepath.Join(netnsDir, l.Prefix()+"{namespace}-{name}")
}

// Dir is the lab's state directory.
func (l Layout) Dir() string { return filepath.Join(StateRoot, l.Name) }

// Path is a file or directory below Dir.
func (l Layout) Path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir()}, parts...)...)
}

// Fixed places below Dir.
func (l Layout) clusterDir() string         { return l.Path("cluster") } // what a cluster's API would hold
func (l Layout) podsDir() string            { return l.Path("cluster", "pods") }
func (l Layout) servicesDir() string        { return l.Path("cluster", "services") }
func (l Layout) nodesDir() string           { return l.Path("cluster", "nodes") }
func (l Layout) deployDir() string          { return l.Path("deploy") } // what the controller deploys
func (l Layout) wantedDir(n string) string  { return l.Path(n, "pods") }
func (l Layout) podDir(ns, n string) string { return l.Path("pods", ns+"_"+n) }

// LogFile is where a supervised program writes.
func (l Layout) LogFile(name string) string {
	return l.Path("logs", strings.ReplaceAll(name, "/", "-")+".log")
}

// PodLog is where a container's output goes.
func (l Layout) PodLog(namespace, name, container string) string {
	return l.Path("logs", "pods", namespace+"_"+name+"_"+container+".log")
}

// ControllerSocket is the controller's admin socket.
func (l Layout) ControllerSocket() string { return l.Path("controller.sock") }

// ZtunnelSocket is the admin socket of a node's ztunnel.
func (l Layout) ZtunnelSocket(node string) string { return l.Path(node, "ztunnel.sock") }

// AgentSocket is the admin socket of a node's agent.
func (l Layout) AgentSocket(node string) string { return l.Path(node, "agent.sock") }

// StatusDir is where the controller and the agents write what became of the objects.
func (l Layout) StatusDir() string { return l.Path("status") }

// Cgroup is the lab's cgroup, relative to the cgroup2 mount; parts are below it.
func (l Layout) Cgroup(parts ...string) string {
	return filepath.Join(append([]string{"weft-lab", l.Name}, parts...)...)
}

func (l Layout) podCgroup(node, namespace, name string) string {
	return l.Cgroup(node, "pods", namespace+"-"+name)
}

// BPFRoot is where the lab's agents pin.
func (l Layout) BPFRoot() string { return filepath.Join(bpffs, "weft-"+l.Name) }

// nodeNet is a node's addressing.
type nodeNet struct {
	index              int // from 1
	ip4, ip6           netip.Addr
	pods4, pods6       netip.Prefix
	gateway4, gateway6 netip.Addr // of the pods: the host's end of each veth
}

func (l Layout) nodeNet(node string) (nodeNet, error) {
	for i, n := range l.NodeNames() {
		if n == node {
			return netOf(i + 1), nil
		}
	}
	return nodeNet{}, fmt.Errorf("lab %s has no node %q, only %s", l.Name, node, strings.Join(l.NodeNames(), ", "))
}

func netOf(index int) nodeNet {
	addr := func(format string) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, index)) }
	return nodeNet{
		index: index,
		ip4:   addr("172.30.254.%d"), ip6: addr("fd00:254::%d"),
		pods4: netip.PrefixFrom(addr("10.244.%d.0"), 24), pods6: netip.PrefixFrom(addr("fd00:244:%d::"), 64),
		gateway4: addr("10.244.%d.1"), gateway6: addr("fd00:244:%d::1"),
	}
}

// pod returns the n-th pair of pod addresses of the node; n from 2 to 254.
func (n nodeNet) pod(i int) (v4, v6 netip.Addr) {
	a4, a6 := n.pods4.Addr().As4(), n.pods6.Addr().As16()
	a4[3], a6[15] = byte(i), byte(i)
	return netip.AddrFrom4(a4), netip.AddrFrom16(a6)
}

// wire is the link between two nodes.
type wire struct {
	a, b   string // nodes
	a4, b4 netip.Prefix
	a6, b6 netip.Prefix
}

// wires joins every two nodes by a link of its own.
func (l Layout) wires() []wire {
	var all []wire
	names := l.NodeNames()
	for i := range names {
		for j := i + 1; j < len(names); j++ {
			k := len(all)
			p4 := func(h int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("172.30.255.%d/30", 4*k+h)) }
			p6 := func(h int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("fd00:255:%d::%d/64", k, h)) }
			all = append(all, wire{a: names[i], b: names[j], a4: p4(1), b4: p4(2), a6: p6(1), b6: p6(2)})
		}
	}
	return all
}

// WireName is the interface in one node's namespace that leads to another node.
func WireName(to string) string { return "to-" + to }
