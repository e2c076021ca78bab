// Package index finds workloads, services and policies by whatever a connection shows: addresses,
// names, membership. It is pure bookkeeping, fed with deltas by the xDS client, or with a Snapshot by
// whoever has one (`weftctl why`, tests), and read by every connection.
//
// Values that were put in are never changed here nor by their owners, so what a lookup returns can be
// kept and read without a lock. Slices that a lookup returns are shared: read them, do not write.
//
// Addresses may belong to several workloads: those of the host network share their node's, and a new
// pod can appear with the address of one whose removal has not been heard of yet. ByAddress prefers
// pods with an address of their own, then the latest one.
package index
