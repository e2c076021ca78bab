// Package plugin is the CNI plugin weft-cni, which the container runtime executes for each pod.
//
// ADD asks the node's agent to capture the pod and prints the result of the plugins before it unchanged. As long as
// nobody answers, it asks again until Conf.Timeout; the kubelet then tries anew, with an event on the pod that says
// what to do. While the agent is away, pods of namespaces that the State file calls plain start without it after
// a few seconds; all others wait, those of exempt namespaces (kube-system, weft-system) never do: they are not asked for at all, so
// that what the mesh itself needs can always start.
//
// DEL always succeeds, whatever is broken. STATUS succeeds while the agent is away, too: the node is good for the
// pods that are not the mesh's, and an error would make the whole node unready. GC has nothing to do.
package plugin
