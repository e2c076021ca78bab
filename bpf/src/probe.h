/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * tcx egress, host's end of the pod's veth: registers what the kubelet opens.
 * Only a packet that this very node makes still has its socket and no incoming
 * interface, so neither a forged source address nor another pod gets in here.
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

SEC("tcx/egress")
int weft_register(struct __sk_buff *skb)
{
	struct segment s = {};
	struct seen now = {};
	__u64 cgroup;

	if (skb->ingress_ifindex)
		return TCX_NEXT;
	cgroup = bpf_skb_cgroup_id(skb);
	if (!cgroup || !bpf_map_lookup_elem(&kubelet_cgroups, &cgroup))
		return TCX_NEXT;
	if (read_packet(skb, &s) != READ_TCP || !opens(&s) || !own(&s, &s.dst))
		return TCX_NEXT;
	struct flow f = {
		.peer = s.src, .pod = pod_slot, .family = s.family,
		.peer_port = s.sport, .pod_port = s.dport,
	};
	now.syn = bpf_ktime_get_ns();
	bpf_map_update_elem(&probes, &f, &now, BPF_ANY);
	return TCX_NEXT;
}
