// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * cgroup connect and sendmsg, root of the hierarchy: speed, not safety.
 * connect() to a pod of this node that policy leaves open goes straight there
 * (direct.h); guards and sk_lookup see to it that nothing else does.
 * With no ztunnel the captured SYN of a pod is dropped by sk_lookup, and the
 * kernel has no way to route an RST from a foreign address, so connect() would
 * wait for its timeout. These hooks know the pod by its namespace's cookie and
 * refuse at once when the slot is empty.
 */
#include "direct.h"
#include "weft.h"

#define ECONNREFUSED 111
#define SOL_SOCKET 1
#define SO_MARK 36

/* set by the agent where the kernel has bpf_set_retval; else the errno is EPERM */
volatile const __u32 have_retval = 0;
/* set where it has bpf_skc_to_mptcp_sock; else getpeername() of MPTCP sockets tells the endpoint of a service */
volatile const __u32 have_mptcp = 0;

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

/* bound to an address that is not the pod's, or to lo: the rules for all sockets know what to do */
static __always_inline int bound_elsewhere(struct bpf_sock *sk, const struct self *p, __u32 family)
{
	if (sk->bound_dev_if == LO)
		return 1;
	if (family == AF_INET)
		return sk->src_ip4 && sk->src_ip4 != p->ip4;
	if (!(sk->src_ip6[0] | sk->src_ip6[1] | sk->src_ip6[2] | sk->src_ip6[3]))
		return 0;
	return sk->src_ip6[0] != p->ip6[0] || sk->src_ip6[1] != p->ip6[1] ||
	       sk->src_ip6[2] != p->ip6[2] || sk->src_ip6[3] != p->ip6[3];
}

static __always_inline int permitted(struct bpf_sock *sk, const struct self *p, __u64 ns, const struct addr *to, __u32 port, __u32 family)
{
	struct pair way = { .from = ns, .port = bpf_ntohs((__u16)port), .family = family };
	struct ident *d;

	d = bpf_map_lookup_elem(&idents, to);
	if (!d)
		return 0;
	way.to = d->ns;
	return allowed(&way) && !bound_elsewhere(sk, p, family);
}

/* draws an endpoint of a service into to and port; 0: the proxy chooses */
static __always_inline int drawn(__u64 ns, struct addr *to, __u32 *port)
{
	struct vip key = { .from = ns, .ip = *to, .port = bpf_ntohs((__u16)*port) };
	struct draw *d = bpf_map_lookup_elem(&services, &key);
	__u32 i;

	if (!d || !d->of)
		return 0;
	i = bpf_get_prandom_u32() % d->of;
	if (i >= d->direct || i >= ENDPOINTS)
		return 0;
	*to = d->here[i].ip;
	*port = bpf_htons((__u16)d->here[i].port);
	return 1;
}

/* what the application dialled, where that is not who it talks to */
struct dialled {
	struct addr ip;
	__u32 port; /* network byte order */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dialled);
} services_dialled SEC(".maps");

static __always_inline int remember(struct bpf_sock *sk, const struct addr *ip, __u32 port)
{
	struct dialled *c = bpf_sk_storage_get(&services_dialled, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct mptcp_sock *m;

	if (!c)
		return 0;
	c->ip = *ip;
	c->port = port;
	/* getpeername() asks the MPTCP socket, connect() is seen of its subflow */
	m = have_mptcp ? bpf_skc_to_mptcp_sock(sk) : 0;
	if (!m)
		return 1;
	c = bpf_sk_storage_get(&services_dialled, m, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		return 0;
	c->ip = *ip;
	c->port = port;
	return 1;
}

/*
 * sends the socket straight to another pod, if it may, and tells in to and port which one; a socket that was sent
 * so before may not stay so for another destination
 */
static __always_inline int direct(struct bpf_sock_addr *ctx, struct bpf_sock *sk, const struct self *p, __u64 ns, struct addr *to, __u32 *port, __u32 family)
{
	struct addr vip = *to;
	__u32 mark = MARK_DIRECT, vport = *port;
	int service = 0;

	if (p->flags & POD_DIRECT) {
		service = drawn(ns, to, port);
		if (permitted(sk, p, ns, to, *port, family) && (!service || remember(sk, &vip, vport)) &&
		    !bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark))) {
			if (!service)
				bpf_sk_storage_delete(&services_dialled, sk);
			return 1;
		}
		*to = vip;
		*port = vport;
	}
	if (sk->mark == MARK_DIRECT) {
		mark = 0;
		bpf_setsockopt(ctx, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
		bpf_sk_storage_delete(&services_dialled, sk);
	} else if (service) {
		bpf_sk_storage_delete(&services_dialled, sk);
	}
	return 0;
}

/* GO_DIRECT: connect to what is in to and port now */
#define GO_DIRECT 2

static __always_inline int decide4(struct bpf_sock_addr *ctx, struct bpf_sock *sk, struct self *p, __u64 *ns, struct addr *to, __u32 *port)
{
	__u32 ip = to->w[3];

	if (!(p->flags & POD_V4) || ip == p->ip4 || loopback4(ip) || !ip)
		return 1;
	if (sk && direct(ctx, sk, p, *ns, to, port, AF_INET))
		return GO_DIRECT;
	return decide(ctx, p, ns, 0, *port);
}

/* sk: of a connect() for TCP, else null */
static __always_inline int family4(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	__u32 port = ctx->user_port;
	struct addr to;
	__u64 ns;
	struct self *p;
	int r;

	mapped(&to, ctx->user_ip4);
	p = pod_of(ctx, &ns);
	if (!p)
		return 1;
	r = decide4(ctx, sk, p, &ns, &to, &port);
	if (r != GO_DIRECT)
		return r;
	ctx->user_ip4 = to.w[3];
	ctx->user_port = port;
	return 1;
}

static __always_inline int family6(struct bpf_sock_addr *ctx, struct bpf_sock *sk)
{
	struct addr to = { { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] } };
	__u32 port = ctx->user_port;
	__u64 ns;
	struct self *p = pod_of(ctx, &ns);

	if (!p)
		return 1;
	if (!to.w[0] && !to.w[1] && to.w[2] == bpf_htonl(0xffff)) {
		int r = decide4(ctx, sk, p, &ns, &to, &port);

		if (r != GO_DIRECT)
			return r;
		ctx->user_ip6[3] = to.w[3];
		ctx->user_port = port;
		return 1;
	}
	if (!(p->flags & POD_V6) || (!to.w[0] && !to.w[1] && !to.w[2])) /* :: and ::1 */
		return 1;
	if (to.w[0] == p->ip6[0] && to.w[1] == p->ip6[1] && to.w[2] == p->ip6[2] && to.w[3] == p->ip6[3])
		return 1;
	if (sk && direct(ctx, sk, p, ns, &to, &port, AF_INET6)) {
		ctx->user_ip6[0] = to.w[0];
		ctx->user_ip6[1] = to.w[1];
		ctx->user_ip6[2] = to.w[2];
		ctx->user_ip6[3] = to.w[3];
		ctx->user_port = port;
		return 1;
	}
	return decide(ctx, p, &ns, SLOT_V6, port);
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return family4(ctx, ctx->protocol == IPPROTO_TCP ? sk : 0);
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return family6(ctx, ctx->protocol == IPPROTO_TCP ? sk : 0);
}

SEC("cgroup/sendmsg4")
int weft_sendmsg4(struct bpf_sock_addr *ctx)
{
	return family4(ctx, 0);
}

SEC("cgroup/sendmsg6")
int weft_sendmsg6(struct bpf_sock_addr *ctx)
{
	return family6(ctx, 0);
}

/* the application is told that it talks to whom it dialled */
SEC("cgroup/getpeername4")
int weft_getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct dialled *c = sk ? bpf_sk_storage_get(&services_dialled, sk, 0, 0) : 0;

	if (c) {
		ctx->user_ip4 = c->ip.w[3];
		ctx->user_port = c->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int weft_getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct dialled *c = sk ? bpf_sk_storage_get(&services_dialled, sk, 0, 0) : 0;

	if (c) {
		ctx->user_ip6[0] = c->ip.w[0];
		ctx->user_ip6[1] = c->ip.w[1];
		ctx->user_ip6[2] = c->ip.w[2];
		ctx->user_ip6[3] = c->ip.w[3];
		ctx->user_port = c->port;
	}
	return 1;
}

/* what became of a direct connection, as its client saw it; as in pkg/direct */
struct event {
	__u64 time;   /* bpf_ktime */
	__u64 socket; /* cookie */
	__u64 ns;     /* of the client */
	__u64 sent, received; /* bytes acknowledged and received, SYN and FIN included */
	struct addr local, remote;
	struct addr dialled; /* a service's; all zero: the pod itself */
	__u16 local_port, remote_port, dialled_port; /* host byte order */
	__u16 kind;   /* EVENT_… */
};

const struct event *event_type __attribute__((unused)); /* carries the type into Go */

enum event_kind {
	EVENT_OPENED = 1,
	EVENT_CLOSED = 2,
	EVENT_FAILED = 3, /* was never established */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} events SEC(".maps");

/* or clang merges reads of the context in ways that the verifier refuses */
#define ONCE(x) (*(volatile __u32 *)&(x))

static __always_inline void tell(struct bpf_sock_ops *s, struct bpf_sock *sk, __u64 ns, __u16 kind)
{
	struct dialled *c = bpf_sk_storage_get(&services_dialled, sk, 0, 0);
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return; /* telemetry; policy does not need it */
	e->time = bpf_ktime_get_ns();
	e->socket = bpf_get_socket_cookie(s);
	e->ns = ns;
	e->sent = s->bytes_acked;
	e->received = s->bytes_received;
	if (s->family == AF_INET) {
		mapped(&e->local, ONCE(s->local_ip4));
		mapped(&e->remote, ONCE(s->remote_ip4));
	} else {
		for (int i = 0; i < 4; i++) {
			e->local.w[i] = ONCE(s->local_ip6[i]);
			e->remote.w[i] = ONCE(s->remote_ip6[i]);
		}
	}
	e->local_port = s->local_port;
	e->remote_port = bpf_ntohl(s->remote_port);
	e->kind = kind;
	if (c) {
		e->dialled = c->ip;
		e->dialled_port = bpf_ntohs((__u16)c->port);
	} else {
		__builtin_memset(&e->dialled, 0, sizeof(e->dialled));
		e->dialled_port = 0;
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); /* it is read ten times a second */
}

/* tells of direct connections; a dozen calls for every other one, which leave at once */
SEC("sockops")
int weft_sockops(struct bpf_sock_ops *s)
{
	struct bpf_sock *sk;
	__u32 op = s->op;
	__u64 ns;

	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB && op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && op != BPF_SOCK_OPS_STATE_CB)
		return 0;
	sk = s->sk;
	if (!sk || sk->mark != MARK_DIRECT)
		return 0;
	ns = bpf_get_netns_cookie(s);
	if (!bpf_map_lookup_elem(&selves, &ns))
		return 0;
	if (op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		bpf_sock_ops_cb_flags_set(s, s->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	else if (op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		tell(s, sk, ns, EVENT_OPENED);
	else if (s->args[1] == BPF_TCP_CLOSE)
		tell(s, sk, ns, s->args[0] == BPF_TCP_SYN_SENT ? EVENT_FAILED : EVENT_CLOSED);
	return 0;
}
