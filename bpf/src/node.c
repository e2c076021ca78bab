// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup connect and sendmsg, root of the hierarchy: speed, not safety.
 * With no ztunnel the captured SYN of a pod is dropped by sk_lookup, and the
 * kernel has no way to route an RST from a foreign address, so connect() would
 * wait for its timeout. These hooks know the pod by its namespace's cookie and
 * refuse at once when the slot is empty.
 */
#include "weft.h"

#define ECONNREFUSED 111

/* set by the agent where the kernel has bpf_set_retval; else the errno is EPERM */
volatile const __u32 have_retval = 0;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct self {
	__u32 slot, flags; /* as in pod.h */
	__u32 ip4;
	__u32 ip6[4];
};

/* key: cookie of an enrolled pod's network namespace */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024); /* resized at load */
	__type(key, __u64);
	__type(value, struct self);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} selves SEC(".maps");

/* key: the same cookie; value: that pod's listeners */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 1024); /* resized at load */
	__type(key, __u64);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_SOCKMAP);
		__uint(max_entries, SLOTS);
		__type(key, __u32);
		__type(value, __u64);
	});
} slots SEC(".maps");

static __always_inline struct self *pod_of(struct bpf_sock_addr *ctx, __u64 *ns)
{
	__u64 cgroup = bpf_get_current_cgroup_id();
	struct self *p;

	*ns = bpf_get_netns_cookie(ctx);
	p = bpf_map_lookup_elem(&selves, ns);
	if (!p || bpf_map_lookup_elem(&ztunnel_cgroups, &cgroup))
		return 0;
	return p;
}

static __always_inline int listening(__u64 *ns, __u32 slot)
{
	void *map = bpf_map_lookup_elem(&slots, ns);
	struct bpf_sock *sk;

	if (!map)
		return 0;
	sk = bpf_map_lookup_elem(map, &slot);
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* 1: go on; 0: refused */
static __always_inline int decide(struct bpf_sock_addr *ctx, struct self *p, __u64 *ns, __u32 family, __u32 port)
{
	__u32 slot;

	if (ctx->protocol == IPPROTO_TCP)
		slot = SLOT_OUTBOUND;
	else if (ctx->protocol == IPPROTO_UDP && port == bpf_htons(PORT_DNS) && (p->flags & POD_DNS))
		slot = SLOT_DNS;
	else
		return 1;
	if (listening(ns, slot + family))
		return 1;
	count_for(p->slot, REFUSED_CONNECT);
	if (have_retval)
		bpf_set_retval(-ECONNREFUSED);
	return 0;
}

static __always_inline int decide4(struct bpf_sock_addr *ctx, struct self *p, __u64 *ns, __u32 ip, __u32 port)
{
	if (!(p->flags & POD_V4) || ip == p->ip4 || loopback4(ip) || !ip)
		return 1;
	return decide(ctx, p, ns, 0, port);
}

static __always_inline int family4(struct bpf_sock_addr *ctx)
{
	__u32 ip = ctx->user_ip4, port = ctx->user_port;
	__u64 ns;
	struct self *p = pod_of(ctx, &ns);

	return p ? decide4(ctx, p, &ns, ip, port) : 1;
}

static __always_inline int family6(struct bpf_sock_addr *ctx)
{
	__u32 w[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };
	__u32 port = ctx->user_port;
	__u64 ns;
	struct self *p = pod_of(ctx, &ns);

	if (!p)
		return 1;
	if (!w[0] && !w[1] && w[2] == bpf_htonl(0xffff))
		return decide4(ctx, p, &ns, w[3], port);
	if (!(p->flags & POD_V6) || (!w[0] && !w[1] && !w[2])) /* :: and ::1 */
		return 1;
	if (w[0] == p->ip6[0] && w[1] == p->ip6[1] && w[2] == p->ip6[2] && w[3] == p->ip6[3])
		return 1;
	return decide(ctx, p, &ns, SLOT_V6, port);
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	return family4(ctx);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	return family6(ctx);
}

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr *ctx)
{
	return family4(ctx);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr *ctx)
{
	return family6(ctx);
}
