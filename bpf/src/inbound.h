/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcx ingress, pod's eth0: marks what comes from outside, so that its answers
 * leave by eth0 again (tcp_fwmark_accept, fwmark_reflect) instead of being
 * captured as the pod's own. Nobody outside may speak with the pod's address:
 * sk_lookup takes that for the pod talking to itself, and IPv6 lets it in.
 * Nor may anybody speak for the kubelet: on a connection that it registered
 * (probe.h) nothing passes that it has not sent; and nobody opens in the name of
 * a pod that is opening that very connection (direct.h).
 */
#include "direct.h"
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

static __always_inline int forged_probe(const struct segment *s)
{
	struct seen *v;
	struct flow f = {
		.peer = s->src, .pod = pod_slot, .family = s->family,
		.peer_port = s->sport, .pod_port = s->dport,
	};

	v = bpf_map_lookup_elem(&probes, &f);
	if (!v)
		return 0;
	if (!opens(s))
		return v->stage != SEEN_CLOSED && s->payload && behind(s->seq + s->len, v->end);
	/* A SYN of later on has nothing to do with the kubelet's: sk_lookup takes it for plaintext. */
	if (v->stage != SEEN_SENT || bpf_ktime_get_ns() - v->syn > FRESH_NS)
		return 0;
	if (s->seq != v->first || s->seq + 1 + s->len != v->end)
		return 1;
	v->stage = SEEN_ARRIVED;
	return 0;
}

static __always_inline int forged_direct(const struct segment *s, __u32 mark)
{
	struct opening o = { .to = pod_ns, .sport = s->sport, .dport = s->dport, .family = s->family };
	struct ident *d;
	struct opened *v;

	if (!(pod_flags & POD_DIRECT) || !opens(s))
		return 0;
	d = bpf_map_lookup_elem(&idents, &s->src);
	if (!d)
		return 0;
	o.from = d->ns;
	v = bpf_map_lookup_elem(&opened, &o);
	if (!v)
		return 0;
	if (v->seq != s->seq || (v->handed && mark != MARK_HANDED))
		return 1;
	v->stage = OPENED_ARRIVED;
	return 0;
}

SEC("tcx/ingress")
int weft_inbound(struct __sk_buff *skb)
{
	struct segment s = {};

	if (spoofed(skb)) {
		count(DROPPED_SPOOFED);
		return TCX_DROP;
	}
	if (read_packet(skb, &s) == READ_TCP && s.dport != PORT_HBONE) {
		if (forged_probe(&s)) {
			count(DROPPED_FORGED_PROBE);
			return TCX_DROP;
		}
		if (forged_direct(&s, skb->mark)) {
			count(DROPPED_FORGED_DIRECT);
			return TCX_DROP;
		}
	}
	skb->mark = MARK_INBOUND;
	return TCX_NEXT;
}
