// Package translate turns one model.Snapshot into the Envoy configuration of one waypoint.
//
// Translate is pure: a snapshot, the waypoint's key and a Config go in, Resources and Problems come out.
// The controller calls it for each connected waypoint and serves Resources.Cache over ADS; golden tests
// feed it files and let the real Envoy validate what comes out.
//
// # Shape
//
// Every waypoint has the same four listeners, whatever it serves, so a change of services, routes or
// policies never touches a listener and never drains a connection:
//
//	ztunnel ══15008══► hbone   mutual TLS; CONNECT is routed by :authority = address:port
//	                   http    one HTTP connection manager; scoped routes keyed by that address:port
//	                   auto    sniffs ports of unknown protocol: HTTP as in http, else TCP
//	                   tunnel  ══15008══► the pod, over mutual TLS with its exact SPIFFE id expected
//
// One service port is one cluster (EDS), one load assignment, one route configuration, one scope for each
// virtual address and one virtual host of the CONNECT table. A port of a plain TCP service needs only the
// first two and the last: CONNECT ends right at its cluster.
//
// # Guarantees
//
// The caller's identity is what its certificate says, and travels from hbone to http in hashable filter
// state, so that Envoy's pools never hand one caller's connection to another. An endpoint is reached only
// with the SPIFFE id the snapshot knows it by. What cannot be translated fails closed and is named in a
// Problem: a route answers 500, a policy denies all. The same happens to an object listed in
// Config.Refused, by which package isolate contains what only Envoy itself finds fault with.
package translate
