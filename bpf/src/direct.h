/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The direct path of pods on one node: who may talk to whom past the tunnel.
 * A pod is known by the cookie of its network namespace, which is never used
 * again, and found by its address. What is not in these maps, and everything
 * when the lease is over, takes the proxy's path.
 *
 *   connect (node.c)   allowed: the socket gets MARK_DIRECT, which only routes
 *   guard.h            lets it out of the pod, and notes each SYN
 *   inbound.h          nobody opens under a noted SYN's name but that very SYN
 *   lookup.h           a noted SYN that has come goes to the application
 */
#pragma once
#include "weft.h"

#define MARK_DIRECT 0x53c /* leaves the pod as it is; routes, and proves nothing */

#define MARK_HANDED 0x53d /* was handed from veth to veth: crossing one takes every mark away, so no pod can forge it */

/* a way that policy leaves open to everything between two pods; as in pkg/direct */
struct pair {
	__u64 from, to; /* cookies of the pods' namespaces */
	__u32 port;     /* of the destination, host byte order */
	__u32 family;
};

struct permit {
	__u64 used; /* bpf_ktime of the last opening; 0: none yet */
};

/* key: what ztunnel has decided, and takes back as soon as it decides otherwise. Full: the proxy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct pair);
	__type(value, struct permit);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} allow SEC(".maps");

/* a pod that may talk directly */
struct ident {
	__u64 ns;       /* cookie of its namespace */
	__u32 ifindex;  /* host's end of its veth, to hand packets straight into the pod; 0: the node forwards them */
	__u32 reserved;
};

/*
 * key: its address. Written by the agent; whoever gives an address to a pod
 * takes what is here away before, with or without an agent (weft-cni).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048); /* resized at load */
	__type(key, struct addr);
	__type(value, struct ident);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} idents SEC(".maps");

/* one entry: bpf_ktime until when all this holds; ztunnel moves it on for as long as it is there to take it back */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} lease SEC(".maps");

/* a service as one pod calls it */
struct vip {
	__u64 from;        /* cookie of the caller's namespace */
	struct addr ip;
	__u32 port;        /* host byte order */
	__u32 reserved;
};

struct endpoint {
	struct addr ip;
	__u32 port; /* host byte order */
};

#define ENDPOINTS 16

/* what to draw from: one of `of` endpoints, of which the first `direct` are here and the others the proxy's to choose */
struct draw {
	__u32 of, direct;
	struct endpoint here[ENDPOINTS];
};

/* key: written by ztunnel, for services that nothing has to be done about on the way */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip);
	__type(value, struct draw);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} services SEC(".maps");

struct opening {
	__u64 from, to;
	__u16 sport, dport; /* host byte order */
	__u32 family;
};

struct opened {
	__u64 time;
	__u32 seq;   /* of the SYN */
	__u16 stage; /* OPENED_… */
	__u16 handed; /* it comes with MARK_HANDED */
};

#define OPENED_SENT 0    /* has left the pod through its guard */
#define OPENED_ARRIVED 1 /* the very same has come in at the other's eth0 */

#define OPENED_NS 2000000000ull /* it is given to the application no later than this */

/* key: a direct connection that was opened lately; only guards make entries */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct opening);
	__type(value, struct opened);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} opened SEC(".maps");

static __always_inline struct permit *allowed(const struct pair *p)
{
	__u32 zero = 0;
	__u64 *until = bpf_map_lookup_elem(&lease, &zero);

	if (!until || bpf_ktime_get_ns() > *until)
		return 0;
	return bpf_map_lookup_elem(&allow, p);
}
