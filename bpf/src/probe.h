/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcx egress, host's end of the pod's veth: registers what the kubelet sends.
 * Only a packet that this very node makes still has its socket and no incoming
 * interface, so neither a forged source address nor another pod gets in here.
 * What comes out at the pod's eth0 is held against it (inbound.h): whoever can
 * put frames into the veth, below us, can only repeat what the kubelet said.
 */
#include "packet.h"

/* cgroup ids of the kubelet, whose probes go straight to the application */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} kubelet_cgroups SEC(".maps");

static __always_inline int may_probe(__u16 port)
{
	for (int i = 0; i < PROBE_PORTS; i++)
		if (port && pod_probe_ports[i] == port)
			return 1;
	return 0;
}

static __always_inline void register_syn(struct flow *f, const struct segment *s)
{
	struct seen now = { .syn = bpf_ktime_get_ns(), .first = s->seq, .end = s->seq + 1 + s->len };

	if (may_probe(s->dport))
		bpf_map_update_elem(&probes, f, &now, BPF_ANY);
	else
		bpf_map_delete_elem(&probes, f);
}

SEC("tcx/egress")
int weft_register(struct __sk_buff *skb)
{
	struct segment s = {};
	struct seen *v;
	__u64 cgroup;

	if (skb->ingress_ifindex)
		return TCX_NEXT;
	cgroup = bpf_skb_cgroup_id(skb);
	if (!cgroup || !bpf_map_lookup_elem(&kubelet_cgroups, &cgroup))
		return TCX_NEXT;
	if (read_packet(skb, &s) != READ_TCP || !own(&s, &s.dst))
		return TCX_NEXT;
	struct flow f = {
		.peer = s.src, .pod = pod_slot, .family = s.family,
		.peer_port = s.sport, .pod_port = s.dport,
	};
	if (opens(&s)) {
		register_syn(&f, &s);
		return TCX_NEXT;
	}
	v = bpf_map_lookup_elem(&probes, &f);
	if (!v)
		return TCX_NEXT;
	if (behind(s.seq + s.len, v->end))
		v->end = s.seq + s.len;
	if (s.flags & (TCP_FIN | TCP_RST))
		v->stage = SEEN_CLOSED;
	return TCX_NEXT;
}
