/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Constants of one pod: every pod has its own instance of these programs. */
#pragma once
#include "weft.h"

#define PROBE_PORTS 16

volatile const __u32 pod_slot = 0;     /* its number among the node's pods */
volatile const __u64 pod_ns = 0;       /* cookie of its network namespace */
volatile const __u32 pod_flags = 0;    /* POD_V4 … */
volatile const __u32 pod_ip4 = 0;      /* network byte order; 0 = none */
volatile const __u32 pod_ip6[4] = {};
volatile const __u16 pod_probe_ports[PROBE_PORTS] = {}; /* that the kubelet may open; 0 = none */
const enum counter counter_type = 0;   /* carries the enum's type into Go */

/* A kubelet's connection to the pod. */
struct flow {
	struct addr peer;
	__u32 pod;    /* slot number; with family it gives the pod's address */
	__u32 family;
	__u16 peer_port, pod_port; /* host byte order */
};

/* What the kubelet was seen to send on it. */
struct seen {
	__u64 syn, reply; /* bpf_ktime of its last SYN, and of the last packet that the pod answered */
	__u32 first;      /* sequence number of the SYN */
	__u32 end;        /* number behind the last byte that it sent */
	__u32 stage;      /* SEEN_… */
};

#define SEEN_SENT 0     /* the SYN has left the node's stack */
#define SEEN_ARRIVED 1  /* the very same has come in by the pod's eth0 */
#define SEEN_ADMITTED 2 /* it has been given to the application; no other one is */
#define SEEN_CLOSED 3   /* the kubelet has ended the connection: nothing is checked any more */

#define FRESH_NS 2000000000ull   /* a SYN is admitted once, and no later than this */
#define IDLE_NS 600000000000ull  /* an idle connection's answers pass this long */

/* key: connection of a kubelet on this node; only its own SYNs make entries */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow);
	__type(value, struct seen);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} probes SEC(".maps");

static __always_inline void count(enum counter c)
{
	count_for(pod_slot, c);
}

static __always_inline int own4(__u32 ip)
{
	return (pod_flags & POD_V4) && ip == pod_ip4;
}

static __always_inline int own6(const __u32 *w)
{
	return (pod_flags & POD_V6) && w[0] == pod_ip6[0] && w[1] == pod_ip6[1] &&
	       w[2] == pod_ip6[2] && w[3] == pod_ip6[3];
}
