/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all programs share: constants, addresses, counters. */
#pragma once
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define AF_INET 2
#define AF_INET6 10
#define LO 1 /* ifindex of lo in every namespace */

#define PORT_OUTBOUND 15001
#define PORT_INBOUND 15006
#define PORT_HBONE 15008
#define PORT_DNS_LISTEN 15053
#define PORT_DNS 53

#define MARK_INBOUND 0x53b /* came in by the pod's eth0: answers go out there */

/* verdicts of tcx programs, in headers from Linux 6.6 only */
#define TCX_NEXT -1
#define TCX_DROP 2

/* an address, IPv4 in its mapped form; network byte order */
struct addr {
	__u32 w[4];
};

/* Slots of a pod's listeners, IPv6 ones at +SLOT_V6. */
#define SLOT_INBOUND 0
#define SLOT_OUTBOUND 1
#define SLOT_HBONE 2
#define SLOT_DNS 3
#define SLOT_V6 4
#define SLOTS 8

#define POD_V4 1  /* the pod has an IPv4 address and its IPv4 is captured */
#define POD_V6 2
#define POD_DNS 4 /* UDP to port 53 is captured */
#define POD_RELAXED 8 /* plaintext goes straight to the application: the mesh is leaving */
#define POD_DIRECT 16 /* other pods of the node may be talked to directly (direct.h) */
#define POD_HANDED 32 /* and its packets handed to those whose idents have an interface, past the node's firewall */

/*
 * Counters. Connections are counted by sk_lookup and the cgroup hooks (a
 * repeated SYN counts again), packets by guard and inbound.
 */
enum counter {
	REDIRECTED_OUTBOUND,    /* connections of the pod handed to 15001 */
	REDIRECTED_INBOUND,     /* plaintext connections to the pod handed to 15006 */
	REDIRECTED_HBONE,       /* connections to 15008 */
	REDIRECTED_DNS,         /* datagrams to port 53 handed to 15053 */
	PASSED_PROBE,           /* kubelet's connections let through to the application */
	PASSED_LOCAL,           /* within the pod, or ztunnel to the application */
	REFUSED_NO_LISTENER,    /* the slot is empty: no ztunnel */
	REFUSED_CONNECT,        /* connect() refused because no ztunnel listens */
	REFUSED_RESERVED_PORT,  /* to ports of the mesh that are not for the caller */
	REFUSED_ASSIGN,         /* the kernel would not take the listener */
	SENT_ZTUNNEL,           /* packets that left from ztunnel's sockets */
	SENT_PROBE_REPLY,       /* packets that answer the kubelet */
	SENT_KERNEL,            /* RST and ACK of the kernel, without payload */
	SENT_NOT_TCP,           /* other protocols, not the mesh's business */
	DROPPED_NOT_ZTUNNEL,    /* TCP of somebody else: an attempt to bypass the mesh */
	DROPPED_FOREIGN_SOURCE, /* TCP that does not carry the pod's address */
	DROPPED_MALFORMED,      /* headers that cannot be read */
	DROPPED_FRAGMENT,       /* TCP in fragments hides its ports */
	DROPPED_TUNNEL,         /* a protocol that could carry TCP inside */
	DROPPED_EXTENSION,      /* IPv6 extension headers that could hide TCP */
	DROPPED_LINK,           /* VLAN tags, unknown frame types */
	DROPPED_SPOOFED,        /* came in by eth0 with the pod's own address */
	DROPPED_FORGED_PROBE,   /* came in by eth0 in the kubelet's name, and the kubelet never sent it */
	PASSED_DIRECT,          /* connections of this node's pods given to the application */
	SENT_DIRECT,            /* packets of direct connections */
	DROPPED_FORGED_DIRECT,  /* SYN in the name of a pod that is opening just now, and not its own */
	COUNTERS = 32,          /* room for each pod */
};

/* key: pod's slot number * COUNTERS + counter; slot 0 sums up pods that are gone */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS); /* resized at load */
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} counters SEC(".maps");

/* cgroup ids whose sockets may send TCP out of pods: the node's ztunnels */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} ztunnel_cgroups SEC(".maps");

static __always_inline void count_for(__u32 pod, enum counter c)
{
	__u32 k = pod * COUNTERS + c;
	__u64 *v = bpf_map_lookup_elem(&counters, &k);

	if (v)
		*v += 1;
}

static __always_inline void mapped(struct addr *a, __u32 ip4)
{
	a->w[0] = 0;
	a->w[1] = 0;
	a->w[2] = bpf_htonl(0xffff);
	a->w[3] = ip4;
}

static __always_inline int loopback4(__u32 ip)
{
	return (ip & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}
