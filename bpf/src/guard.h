/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcx ingress, host's end of the pod's veth: what may leave the pod.
 * Out of the pod's reach, below every socket option, raw and packet socket.
 * The socket that made a packet crosses the veth with it, and with the socket
 * its cgroup: that is the proof; marks and addresses can be forged.
 */
#include "direct.h"
#include "packet.h"

/* 0: not by the direct path; else in ifindex where to hand the packet over, 0: the node forwards it */
static __always_inline int direct(const struct segment *s, __u32 *ifindex)
{
	struct ident *d;
	struct permit *v;
	struct pair there = { .from = pod_ns, .port = s->dport, .family = s->family };
	struct pair back = { .to = pod_ns, .port = s->sport, .family = s->family };

	if (!(pod_flags & POD_DIRECT))
		return 0;
	d = bpf_map_lookup_elem(&idents, &s->dst);
	if (!d)
		return 0;
	there.to = back.from = d->ns;
	*ifindex = pod_flags & POD_HANDED ? d->ifindex : 0; /* both ways or none: a firewall has to see both */
	v = allowed(&there);
	if (!v) /* an answer, which can never open anything */
		return (s->flags & (TCP_SYN | TCP_ACK)) != TCP_SYN && allowed(&back);
	if (s->flags & TCP_SYN) {
		struct opening o = { .from = pod_ns, .to = d->ns, .sport = s->sport, .dport = s->dport, .family = s->family };
		struct opened now = { .time = bpf_ktime_get_ns(), .seq = s->seq, .handed = *ifindex != 0 };

		v->used = now.time;
		bpf_map_update_elem(&opened, &o, &now, BPF_ANY);
	}
	return 1;
}

static __always_inline int answers_probe(const struct segment *s)
{
	struct flow f = {
		.peer = s->dst, .pod = pod_slot, .family = s->family,
		.peer_port = s->dport, .pod_port = s->sport,
	};
	struct seen *v = bpf_map_lookup_elem(&probes, &f);
	__u64 now;

	if (!v || opens(s))
		return 0;
	now = bpf_ktime_get_ns();
	if (now - v->syn > IDLE_NS && now - v->reply > IDLE_NS)
		return 0;
	v->reply = now;
	return 1;
}

SEC("tcx/ingress")
int weft_guard(struct __sk_buff *skb)
{
	struct segment s = {};
	int r = read_packet(skb, &s);
	__u32 ifindex = 0;
	__u64 cgroup;

	if (r == READ_OTHER) {
		count(SENT_NOT_TCP);
		return TCX_NEXT;
	}
	if (r != READ_TCP) {
		count(r);
		return TCX_DROP;
	}
	if (!own(&s, &s.src)) {
		count(DROPPED_FOREIGN_SOURCE);
		return TCX_DROP;
	}
	cgroup = bpf_skb_cgroup_id(skb);
	if (cgroup && bpf_map_lookup_elem(&ztunnel_cgroups, &cgroup)) {
		count(SENT_ZTUNNEL);
		return TCX_NEXT;
	}
	if (direct(&s, &ifindex)) {
		count(SENT_DIRECT);
		if (!ifindex)
			return TCX_NEXT;
		skb->mark = MARK_HANDED;
		return bpf_redirect_peer(ifindex, 0);
	}
	if (answers_probe(&s)) {
		count(SENT_PROBE_REPLY);
		return TCX_NEXT;
	}
	/*
	 * The kernel's own answers (RST to a closed port, ACK of TIME_WAIT) come
	 * from no socket or from its control socket in the root cgroup, id 1.
	 * Without payload they tell nothing and can open nothing.
	 */
	if (cgroup <= 1 && !s.payload && (s.flags & (TCP_RST | TCP_ACK)) && !(s.flags & TCP_SYN)) {
		count(SENT_KERNEL);
		return TCX_NEXT;
	}
	count(DROPPED_NOT_ZTUNNEL);
	return TCX_DROP;
}
