// Package direct lets pods of this node talk straight through the kernel where policy leaves nothing to decide.
//
// The first connection from a pod to a port of another one goes by the proxies, which offer it here afterwards. If
// both pods are of this node and may talk directly (the agent's word, in the kernel), and the route and policy of
// such a connection are plain (no waypoint, fault, limit or rule beyond L4), the pair is permitted in the kernel:
// the next connection does not come here at all.
//
//	outbound.Handler ── Offer ──► Table ── Permit ──► kernel ── events ──► Table: flows, metrics, access log
//	state.State ───── changed ──► Table ── Forbid, then both ends' sockets are destroyed
//
// Every permitted pair is decided on again at every change of the mesh, and every second it is seen whether both
// pods still have their addresses. What is permitted holds only while a lease runs that is renewed here, so that
// without a ztunnel nothing stays open that nobody could close. A ztunnel that takes over from another one first
// decides on what that one has permitted.
//
// The bytes are plaintext, though they never leave the node: flows are labelled same_node.
package direct
