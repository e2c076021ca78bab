/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sk_lookup, pod's namespace: which socket a new connection gets.
 * Outbound ones come in by lo (table 178 makes every address local), inbound
 * ones by eth0. Addresses stay as they are, so the accepted socket's own
 * address is the original destination. An empty slot refuses: the kernel
 * empties it when ztunnel's listener closes.
 */
#include "direct.h"
#include "pod.h"

/* key: SLOT_…; value: listening socket of ztunnel. One map for each pod. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} listeners SEC(".maps");

struct ends {
	struct addr local, remote;
	int own_local, own_remote, loop;
};

static __always_inline void ends4(struct bpf_sk_lookup *ctx, struct ends *e)
{
	__u32 l = ctx->local_ip4, r = ctx->remote_ip4;

	mapped(&e->local, l);
	mapped(&e->remote, r);
	e->own_local = own4(l);
	e->own_remote = own4(r);
	e->loop = loopback4(l);
}

static __always_inline void ends6(struct bpf_sk_lookup *ctx, struct ends *e)
{
	__u32 l[4] = { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3] };
	__u32 r[4] = { ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3] };

	__builtin_memcpy(&e->local, l, 16);
	__builtin_memcpy(&e->remote, r, 16);
	e->own_local = own6(l);
	e->own_remote = own6(r);
	e->loop = !l[0] && !l[1] && !l[2] && l[3] == bpf_htonl(1);
}

static __always_inline int from_kubelet(struct bpf_sk_lookup *ctx, const struct ends *e)
{
	struct flow f = {
		.peer = e->remote, .pod = pod_slot, .family = ctx->family,
		.peer_port = bpf_ntohs((__u16)ctx->remote_port), .pod_port = (__u16)ctx->local_port,
	};
	struct seen *v = bpf_map_lookup_elem(&probes, &f);

	/* once: with it, a second SYN of the same number is just somebody's */
	return v && bpf_ktime_get_ns() - v->syn < FRESH_NS &&
	       __sync_val_compare_and_swap(&v->stage, SEEN_ARRIVED, SEEN_ADMITTED) == SEEN_ARRIVED;
}

/* a pod of this node, whose SYN left through its guard and is the one that came */
static __always_inline int from_peer(struct bpf_sk_lookup *ctx, const struct ends *e)
{
	struct ident *d;
	struct opened *v;
	struct pair p = { .to = pod_ns, .port = ctx->local_port, .family = ctx->family };
	struct opening o = {
		.to = pod_ns, .family = ctx->family,
		.sport = bpf_ntohs((__u16)ctx->remote_port), .dport = (__u16)ctx->local_port,
	};

	if (!(pod_flags & POD_DIRECT))
		return 0;
	d = bpf_map_lookup_elem(&idents, &e->remote);
	if (!d)
		return 0;
	p.from = o.from = d->ns;
	if (!allowed(&p))
		return 0;
	v = bpf_map_lookup_elem(&opened, &o);
	return v && v->stage == OPENED_ARRIVED && bpf_ktime_get_ns() - v->time < OPENED_NS;
}

static __always_inline int reserved(__u32 port)
{
	return port == PORT_OUTBOUND || port == PORT_INBOUND || port == PORT_DNS_LISTEN;
}

static __always_inline int give(struct bpf_sk_lookup *ctx, __u32 slot, enum counter as)
{
	struct bpf_sock *sk;
	long err;

	if (ctx->family == AF_INET6)
		slot += SLOT_V6;
	sk = bpf_map_lookup_elem(&listeners, &slot);
	if (!sk) {
		count(REFUSED_NO_LISTENER);
		return SK_DROP;
	}
	/* exactly this socket, whatever SO_REUSEPORT group it is in */
	err = bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	if (err) {
		count(REFUSED_ASSIGN);
		return SK_DROP;
	}
	count(as);
	return SK_PASS;
}

static __always_inline int from_inside(struct bpf_sk_lookup *ctx, const struct ends *e)
{
	__u32 port = ctx->local_port;

	if (e->own_local || e->loop) {
		if (ctx->protocol == IPPROTO_TCP && (reserved(port) || port == PORT_HBONE)) {
			count(REFUSED_RESERVED_PORT);
			return SK_DROP;
		}
		if (ctx->protocol == IPPROTO_TCP)
			count(PASSED_LOCAL);
		return SK_PASS;
	}
	if (ctx->protocol == IPPROTO_TCP)
		return give(ctx, SLOT_OUTBOUND, REDIRECTED_OUTBOUND);
	if (port == PORT_DNS && (pod_flags & POD_DNS))
		return give(ctx, SLOT_DNS, REDIRECTED_DNS);
	return SK_PASS;
}

SEC("sk_lookup")
int weft_lookup(struct bpf_sk_lookup *ctx)
{
	struct ends e = {};

	if (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_UDP)
		return SK_PASS;
	if (ctx->family == AF_INET) {
		if (!(pod_flags & POD_V4))
			return SK_PASS;
		ends4(ctx, &e);
	} else {
		if (!(pod_flags & POD_V6))
			return SK_PASS;
		ends6(ctx, &e);
	}
	/* the pod to its own address is said to come by eth0, though it came by lo */
	if (ctx->ingress_ifindex == LO || e.own_remote)
		return from_inside(ctx, &e);
	if (ctx->protocol == IPPROTO_UDP)
		return SK_PASS;
	if (ctx->local_port == PORT_HBONE)
		return give(ctx, SLOT_HBONE, REDIRECTED_HBONE);
	if (from_kubelet(ctx, &e)) {
		count(PASSED_PROBE);
		return SK_PASS;
	}
	if (reserved(ctx->local_port)) {
		count(REFUSED_RESERVED_PORT);
		return SK_DROP;
	}
	if (pod_flags & POD_RELAXED)
		return SK_PASS;
	if (from_peer(ctx, &e)) {
		count(PASSED_DIRECT);
		return SK_PASS;
	}
	return give(ctx, SLOT_INBOUND, REDIRECTED_INBOUND);
}
