// Package xds carries the Snapshot from the controller to the proxies.
//
// Server speaks the aggregated discovery service on one TLS port: delta ADS of istio.workload.Address
// and istio.security.Authorization for ztunnels, ours or of other makers, and delta or
// state-of-the-world ADS of Envoy's own types for waypoints. Versions are hashes of the content, so a
// proxy that reconnects, to this replica or another, is sent only what differs from what it knows.
// Nothing is answered before the first Snapshot: an empty answer would mean "the mesh is empty".
//
// Client is a ztunnel's end: it reconnects with the versions it knows, hands changes to a Handler and
// refuses (NACK) what it cannot read while the last good value stays in use. A policy that cannot be
// read and has no last good value denies.
//
// encode.go and decode.go translate between package model and the wire. What the messages of Istio
// cannot say rides in their extensions, which other makers' programs ignore.
package xds

// Type URLs of what ztunnels subscribe to.
const (
	TypeAddress       = "type.googleapis.com/istio.workload.Address"
	TypeAuthorization = "type.googleapis.com/istio.security.Authorization"
	// TypeRange is ours: see proto/weft/v1/range.proto.
	TypeRange = "type.googleapis.com/weft.v1.Range"
)

// Node ids. A waypoint's names its Gateway, so that all its pods get the same configuration.
const (
	ztunnelPrefix  = "ztunnel~"
	waypointPrefix = "waypoint~"
)

// ZtunnelNode is the node id of the ztunnel of a node.
func ZtunnelNode(node string) string { return ztunnelPrefix + node }

// WaypointNode is the node id of a pod of a waypoint; with an empty pod it names the waypoint itself,
// which is how SetEnvoy wants it.
func WaypointNode(namespace, gateway, pod string) string {
	id := waypointPrefix + namespace + "/" + gateway
	if pod != "" {
		id += "~" + pod
	}
	return id
}
