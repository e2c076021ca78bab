/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading a frame, trusting nothing in it. */
#pragma once
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include "pod.h"

#define NEXT_HOP 0
#define NEXT_ICMP 1
#define NEXT_IGMP 2
#define NEXT_TCP 6
#define NEXT_UDP 17
#define NEXT_FRAGMENT 44
#define NEXT_ESP 50
#define NEXT_ICMP6 58
#define NEXT_SCTP 132
#define NEXT_UDPLITE 136
#define NEXT_IPIP 4
#define NEXT_IP6 41
#define NEXT_ROUTING 43
#define NEXT_DSTOPTS 60

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

/* a TCP segment's envelope */
struct segment {
	struct addr src, dst;
	__u32 family;
	__u16 sport, dport; /* host byte order */
	__u8 flags;
	__u8 payload;       /* carries data */
	__u32 seq, len;     /* sequence number, bytes of data */
};

/* What read() found; values below COUNTERS are the reason to drop. */
#define READ_TCP (COUNTERS + 0)
#define READ_OTHER (COUNTERS + 1) /* not TCP, nor able to hide it */
#define READ_SHORT (COUNTERS + 2) /* headers not in the linear part */

static __always_inline int read_tcp(void *head, void *end, __u32 len, struct segment *s)
{
	struct tcphdr *t = head;

	if ((void *)(t + 1) > end)
		return READ_SHORT;
	if (t->doff < 5 || len < t->doff * 4)
		return DROPPED_MALFORMED;
	s->sport = bpf_ntohs(t->source);
	s->dport = bpf_ntohs(t->dest);
	s->flags = ((__u8 *)t)[13];
	s->len = len - t->doff * 4;
	s->payload = s->len != 0;
	s->seq = bpf_ntohl(t->seq);
	return READ_TCP;
}

static __always_inline int read4(struct iphdr *ip, void *end, __u32 len, struct segment *s)
{
	if ((void *)(ip + 1) > end)
		return READ_SHORT;
	if (ip->version != 4 || ip->ihl < 5)
		return DROPPED_MALFORMED;
	switch (ip->protocol) {
	case NEXT_TCP:
		break;
	case NEXT_ICMP: case NEXT_IGMP: case NEXT_UDP: case NEXT_ESP: case NEXT_SCTP: case NEXT_UDPLITE:
		return READ_OTHER;
	default:
		return DROPPED_TUNNEL;
	}
	if (ip->frag_off & bpf_htons(0x3fff)) /* more fragments, or not the first */
		return DROPPED_FRAGMENT;
	if (ip->tot_len || len <= 0xffff) /* 0 in a bigger one: BIG TCP */
		len = bpf_ntohs(ip->tot_len);
	if (len < ip->ihl * 4)
		return DROPPED_MALFORMED;
	mapped(&s->src, ip->saddr);
	mapped(&s->dst, ip->daddr);
	s->family = AF_INET;
	return read_tcp((void *)ip + ip->ihl * 4, end, len - ip->ihl * 4, s);
}

static __always_inline int harmless6(__u8 next)
{
	return next == NEXT_UDP || next == NEXT_ICMP6 || next == NEXT_SCTP ||
	       next == NEXT_UDPLITE || next == NEXT_ESP;
}

static __always_inline int read6(struct ipv6hdr *ip, void *end, __u32 len, struct segment *s)
{
	__u8 *next = (void *)(ip + 1);

	if ((void *)(ip + 1) > end)
		return READ_SHORT;
	if (ip->version != 6)
		return DROPPED_MALFORMED;
	if (harmless6(ip->nexthdr))
		return READ_OTHER;
	switch (ip->nexthdr) {
	case NEXT_TCP:
		len = bpf_ntohs(ip->payload_len);
		break;
	case NEXT_FRAGMENT: /* the receiver goes by the first fragment's next header */
		if ((void *)(next + 8) > end)
			return READ_SHORT;
		return harmless6(next[0]) ? READ_OTHER : DROPPED_FRAGMENT;
	case NEXT_HOP: /* multicast listener reports need it, of TCP only BIG TCP */
		if ((void *)(next + 8) > end)
			return READ_SHORT;
		if (next[0] == NEXT_ICMP6)
			return READ_OTHER;
		if (next[0] != NEXT_TCP || len <= 0xffff || next[1])
			return DROPPED_EXTENSION;
		next += 8;
		len -= sizeof(*ip) + 8;
		break;
	case NEXT_ROUTING: case NEXT_DSTOPTS:
		return DROPPED_EXTENSION;
	default:
		return DROPPED_TUNNEL;
	}
	__builtin_memcpy(&s->src, &ip->saddr, 16);
	__builtin_memcpy(&s->dst, &ip->daddr, 16);
	s->family = AF_INET6;
	return read_tcp(next, end, len, s);
}

static __always_inline int read_linear(struct __sk_buff *skb, struct segment *s)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;
	__u32 len = skb->len - sizeof(*eth);

	if ((void *)(eth + 1) > end)
		return READ_SHORT;
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		return read4((void *)(eth + 1), end, len, s);
	case bpf_htons(ETH_P_IPV6):
		return read6((void *)(eth + 1), end, len, s);
	case bpf_htons(ETH_P_ARP):
		return READ_OTHER;
	}
	return DROPPED_LINK;
}

static __always_inline int read_packet(struct __sk_buff *skb, struct segment *s)
{
	int r;

	if (skb->vlan_present)
		return DROPPED_LINK;
	r = read_linear(skb, s);
	if (r != READ_SHORT)
		return r;
	/* Ethernet, IPv4 with all options, TCP without: the most that is read */
	if (bpf_skb_pull_data(skb, skb->len < 94 ? skb->len : 94))
		return DROPPED_MALFORMED;
	r = read_linear(skb, s);
	return r == READ_SHORT ? DROPPED_MALFORMED : r;
}

static __always_inline int own(const struct segment *s, const struct addr *a)
{
	return s->family == AF_INET ? own4(a->w[3]) : own6(a->w);
}

/* a is behind b, in numbers that wrap around */
static __always_inline int behind(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* only these open a connection; a SYN with ACK or RST set does not */
static __always_inline int opens(const struct segment *s)
{
	return (s->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}
