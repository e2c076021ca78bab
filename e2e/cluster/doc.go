// Package cluster runs a real Kubernetes on one Linux machine: etcd, API server, controller manager, scheduler, and
// any number of nodes with a kubelet, containerd, kube-proxy and CoreDNS of their own. Nothing is pulled: all is built
// from Go modules below modules/ (their Kubernetes versions differ, so each has a go.mod of its own), and kept under
// ~/.cache/weft-e2e by a hash of what it is built from. Debian gives runc, iproute2, nft, iptables and conntrack.
//
// Who calls it: the command weft-cluster, and the suites in e2e/kube.
//
//	c, err := cluster.Up(ctx, cluster.Options{Index: 1, Nodes: 2})
//	defer c.Down()
//
// What a cluster is made of. The control plane runs in the network namespace wft-kI, each node in wft-kI-nJ and in
// mount, pid, uts, ipc and cgroup namespaces of its own; a bridge wftkI joins them to the machine, which reaches the
// API server, the nodes and the pods by their addresses. All processes live below one cgroup, wft-kI: taking a cluster
// down kills that cgroup, so it needs no pid, hits no foreign process and works whatever became of the program that
// raised the cluster. I is Options.Index; ten clusters stand side by side.
//
// All nodes share one kernel: BPF object ids and sysctls outside of the network are common, and each node reports the
// memory and the processors of the whole machine.
package cluster
