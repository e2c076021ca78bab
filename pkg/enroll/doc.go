// Package enroll takes the pods of a node into the mesh and out of it.
//
// Decide is pure: labels in, pods to enrol out. A Reconciler makes it true, one pod at a time and several
// pods at once, again and again until it is:
//
//	label ──► ztunnel is given the pod's namespace (ZDS)
//	          it fetches the certificate, opens listeners, says Ack
//	      ──► listeners are put where eBPF steers to, then eBPF is attached
//	      ──► the pod is announced as captured; callers begin to use the tunnel
//
// so a running pod meets no moment in which connections are refused, and from the announcement on nothing
// of it travels in plain text. Leaving goes the other way: the announcement is withdrawn, callers are left
// time to hear of it while both ways work, then eBPF is detached, then the ztunnel forgets the pod.
//
// # What is kept when something dies
//
//	ztunnel   its listeners leave the slots with it: connections are refused. Its successor is told all pods
//	          and takes each over with its Ack. While two run, the later one gets the connections.
//	agent     all stays in force; the next one adopts the pods, compares them with what is wanted, and only
//	          then talks to the ztunnel, so that no pod is dropped because it was not known yet.
//	source    pods stay as they are while it is not known completely (State.Complete), and a pod whose
//	          namespace object is not known is neither taken in nor out.
//
// A ztunnel may send from inside the pods because of its cgroup: Cgroups admits it when it connects, and
// takes the right back when nothing lives there any more.
package enroll
