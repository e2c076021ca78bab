// Package cni holds a pod's start until the pod is captured.
//
// The container runtime calls the plugin weft-cni (package plugin), which is chained behind the plugins that make
// the pod's network. It asks the node's agent over a unix socket, and no container of the pod starts before the
// agent has answered:
//
//	kubelet ─► containerd ─► bridge, calico, … ─► weft-cni ── POST /v1/add ──► agent: Server ─► Handler
//	                                                 │                            (captured, or not the mesh's)
//	                                                 └─ agent away: the file of namespaces (State) decides
//
// The agent runs a Server and keeps a State file for the time when it is away. Package install puts the plugin into
// the node's CNI configuration, keeps it there, and takes it out again.
//
// What is guaranteed: a pod of an enrolled namespace does not start uncaptured, whether the agent lives or not; pods
// of other namespaces start without an agent; removing a pod never fails because of us.
package cni
