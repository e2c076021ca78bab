// Package bpf captures the traffic of enrolled pods with eBPF, and keeps it
// captured when agent and ztunnel are dead. The agent calls it; ztunnel does not
// need it, for it only listens inside the pods' namespaces (package netns).
//
// # How a packet goes
//
//	application ── connect() ──► cgroup hooks: no ztunnel? ECONNREFUSED at once
//	     │  rule 90: no mark of ours, from lo, TCP or DNS → table 178: every address is local
//	     ▼
//	    lo ──► sk_lookup: outbound slot ──► ztunnel :15001  (own address = original destination)
//	                                            │ mark 0x539: past rule 90
//	   eth0 ◄───────────────────────────────────┘
//	     │ veth
//	  host's end, tcx ingress: the guard. TCP leaves only if its socket is of
//	     ztunnel's cgroup, or it answers a kubelet, or it is the kernel's RST/ACK.
//
//	  host's end, tcx egress: registers what the kubelet of this node sends to ports that the pod is probed on
//	     │ veth
//	   eth0, tcx ingress: mark 0x53b, so that answers leave by eth0; nothing in the kubelet's name that it did not send
//	     ▼
//	  sk_lookup: kubelet's → application; :15008 → HBONE slot; else → :15006
//	                                            │ mark 0x53a, bound to lo, client's address
//	application ◄────────── lo ◄────────────────┘ (rule 91, table 177 leads back)
//
// Slots are a SOCKMAP for each pod, filled by the agent (TakeListeners,
// SetListeners); the kernel empties a slot when its listener closes. An empty
// slot refuses.
//
// # What proves what
//
// Marks and addresses can be forged by root in the pod, so they only route. The
// proof is the cgroup of the socket that made the packet, read where no process
// of the pod can reach: on the host's end of the veth, below AF_PACKET with qdisc
// bypass and raw sockets. What could hide TCP (fragments, VLAN tags, tunnels,
// IPv6 extension headers) is dropped; UDP, ICMP, SCTP and ESP are not the mesh's
// business.
//
// # What stays when
//
//	agent dead      everything stays in force: all links and maps are pinned
//	ztunnel dead    slots empty themselves: in and out refused within a millisecond
//	agent restarts  Open adopts the pinned links and swaps programs in place
//	mesh leaving    Relax: plaintext comes in, nothing is kept from leaving; then Unenrol
//	pod unenrolled  links, pins, rules, routes gone; sysctls as they were
//	Teardown        nothing is left; Cleanup does it for pins of another version
//
// Pins under Options.Root: shared maps, the seven cgroup hooks, pods_state (what
// a successor must know), and pods/SLOT/ with each pod's links and listeners.
//
// # Programs
//
// src/pod.c is one pod's: guard.h, probe.h, inbound.h, lookup.h, with its
// addresses as constants; src/node.c is the node's. Shared types are in
// src/weft.h. The programs are under GPL-2.0-only OR BSD-2-Clause, because
// helpers that they call are for GPL-compatible programs only.
//
// # Limits
//
// The pod's interface must be a veth whose other end is in the agent's network
// namespace, and nobody else may steer its connections (ErrForeign). At most one
// address of each family, 16 probed ports. Needs Linux 6.6; Probe tells what a
// kernel lacks. A client whose own source ports lie in 61000–65535 or
// 10240–32767 may, rarely, meet a borrowed connection of the same number (see
// package netns).
package bpf
