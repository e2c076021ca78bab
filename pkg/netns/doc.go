// Package netns opens network namespaces and makes sockets inside them.
//
// A socket belongs for life to the namespace in which socket(2) was called, so
// only that one call has to run there: everything else (options, bind, listen,
// connect, I/O) happens on any thread. That keeps one ztunnel process able to
// serve every pod of its node at the price of two setns(2) calls a socket.
//
//	ns, err := netns.Open("/run/netns/pod")
//	l, err := ns.ListenTCP(netns.ListenOptions{Addr: netip.MustParseAddrPort("127.0.0.1:15001"), Transparent: true})
//	c, err := ns.DialTCP(ctx, dst, netns.DialOptions{Mark: 0x539})
//	err = ns.Do(func() error { /* netlink, sysctls: this goroutine is inside */ })
//
// Guarantees:
//   - Code outside Do never runs in a foreign namespace. A thread that cannot be
//     brought back is destroyed, not returned to the scheduler.
//   - Sockets are close-on-exec, non-blocking, never Multipath TCP; IPv6 sockets
//     carry IPv6 only, so that each family is steered by its own slot.
//   - A dialled socket with a borrowed source address (DialOptions.Source) takes
//     its port from outside the usual ephemeral range, see sourceports.go.
//
// OriginalDst tells where a steered connection was bound for; PacketConn does
// the same for datagrams and answers from that address. FindListeners takes the
// listening sockets of another process by sock_diag and pidfd_getfd.
package netns
