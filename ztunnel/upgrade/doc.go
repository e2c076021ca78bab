// Package upgrade passes what a ztunnel carries on to the one that replaces it, so that no connection is cut.
//
// The new ztunnel starts beside the old one. It gets its configuration from the controller and its pods from the
// agent, opens listeners of its own in their namespaces and takes their new connections, as ever; then Take asks the
// old one for the rest: tunnel connections with their streams, the applications' sockets, and the flows that
// telemetry knows them by. The old one stops them between two messages, gives them away and lets what could not be
// moved end. Who owns a connection is never in doubt: see package handover.
//
//	successor                                        predecessor
//	Take ── pkg/hbone/handover ────────────────────► Serve
//	inpod.Manager.Import, flow.Table.Adopt ◄──────── inpod.Manager.Export, flow.Table.States
//	                                                 drains what stayed
//
// What goes wrong, at whatever step, leaves the connections with the old ztunnel, which drains them as if nobody
// had asked.
//
// Not moved: connections of crypto/tls (--tunnel-tls=stdlib), those that leave the mesh or come from outside of it
// in clear text, those that a Fault slows down or cuts short, and DNS queries under way. They drain.
package upgrade
