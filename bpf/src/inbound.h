/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcx ingress, pod's eth0: marks what comes from outside, so that its answers
 * leave by eth0 again (tcp_fwmark_accept, fwmark_reflect) instead of being
 * captured as the pod's own. Nobody outside may speak with the pod's address:
 * sk_lookup takes that for the pod talking to itself, and IPv6 lets it in.
 */
#include "packet.h"

static __always_inline int spoofed(struct __sk_buff *skb)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = (void *)(long)skb->data;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);

		return (void *)(ip + 1) <= end && own4(ip->saddr);
	}
	if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);

		/* duplicate address detection and neighbours are ICMPv6 */
		return (void *)(ip + 1) <= end && ip->nexthdr != NEXT_ICMP6 &&
		       own6(ip->saddr.in6_u.u6_addr32);
	}
	return 0;
}

SEC("tcx/ingress")
int weft_inbound(struct __sk_buff *skb)
{
	if (spoofed(skb)) {
		count(DROPPED_SPOOFED);
		return TCX_DROP;
	}
	skb->mark = MARK_INBOUND;
	return TCX_NEXT;
}
