// Package dns answers the questions of an enrolled pod.
//
// A pod's queries are steered to a UDP socket inside its network namespace (port 15053). Names of the
// mesh are answered from memory: services (A, AAAA, SRV), headless services (the addresses of their
// pods) and pods of headless services (<hostname>.<service>.<namespace>.svc.<cluster domain>). Short
// forms are understood from the pod's own namespace: cart, cart.shop, cart.shop.svc. Everything else is
// forwarded to the name server that the pod asked, or to a configured upstream. Answers leave with the
// address that the pod asked, so that it takes them. One that is too long for UDP is marked as truncated;
// the pod's retry over TCP, captured like every connection, is served by ServeConn in the same way.
//
// A name below svc.<cluster domain> that the mesh does not know is NXDOMAIN only when the Zone is
// authoritative (the mesh knows every service of the cluster); otherwise it is forwarded as well.
package dns
