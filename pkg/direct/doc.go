// Package direct is the seam between agent and ztunnel for the direct path of pods on one node: the kernel's maps
// that say who may talk to whom past the tunnel, and how a ztunnel gets hold of them.
//
//	agent: loads and pins the programs, writes which pod has which address (idents)
//	   │ Hand: descriptors of the maps, over a unix socket, to one ztunnel at a time
//	   ▼
//	ztunnel: Take ─► Maps: Permit and Forbid pairs, Renew the lease, read Events
//
// The maps are pinned, so what a ztunnel has permitted outlives it and the agent, but only for as long as the lease
// runs: without a ztunnel to take it back, nothing goes directly. Package bpf has the programs, and what each of
// the maps is for stands in bpf/src/direct.h.
//
// A ztunnel that does not ask for the maps, such as one of another maker, leaves everything on the proxy's path.
package direct
