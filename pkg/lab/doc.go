// Package lab is a small Kubernetes-shaped machine room on one Linux host: simulated nodes and pods as
// network namespaces, for the demo, for tests and benchmarks, and for playing.
//
//	weft-lab-n1 ══ veth "to-n2"/"to-n1" ══ weft-lab-n2          nodes: routers with their own pod subnet
//	   │ veth            │ veth                │ veth
//	weft-lab-shop-a   weft-lab-shop-b      weft-lab-shop-c       pods: eth0, one address of each family
//
// It does what a cluster does around a mesh, from ordinary manifests:
//
//   - The supervisor (Supervise) is control plane and init: it makes nodes, gives Services their virtual
//     addresses, turns Deployments into Pods on nodes (rolling changes), and keeps the mesh's programs
//     running: one controller, and on each node an agent and a ztunnel.
//   - A kubelet per node (RunKubelet), in the node's namespace and a cgroup of its own: starts pods'
//     processes, probes them, restarts them, and writes their Pod objects.
//   - A node proxy per node (RunNodeProxy): virtual addresses by nftables for whoever is not enrolled,
//     and the cluster's DNS.
//
// Images are not pulled: a map leads from image to a program of this machine, and pods share its file
// system, but for /run and /etc/resolv.conf.
//
// Everything a lab makes is named after it (namespaces weft-<lab>-*, cgroup weft-lab/<lab>, state
// /run/weft-lab/<lab>, pins /sys/fs/bpf/weft-<lab>), and Sweep removes it all, whoever died before.
// Two labs of different names do not touch each other.
package lab
