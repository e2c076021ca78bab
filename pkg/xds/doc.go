// Package xds carries the Snapshot from the controller to the proxies.
//
// Server speaks the aggregated discovery service on one TLS port: delta ADS of istio.workload.Address
// and istio.security.Authorization for ztunnels, ours or of other makers, and delta or
// state-of-the-world ADS of Envoy's own types for waypoints. Versions are hashes of the content, so a
// proxy that reconnects, to this replica or another, is sent only what differs from what it knows.
// Nothing is answered before the first Snapshot: an empty answer would mean "the mesh is empty".
//
// Package subscribe is a ztunnel's end of it; package wire translates between package model and the messages.
package xds

// waypointPrefix begins the node id of a waypoint's pod. It names the Gateway, so that all pods of a waypoint get the
// same configuration.
const waypointPrefix = "waypoint~"

// WaypointNode is the node id of a pod of a waypoint; with an empty pod it names the waypoint itself,
// which is how SetEnvoy wants it.
func WaypointNode(namespace, gateway, pod string) string {
	id := waypointPrefix + namespace + "/" + gateway
	if pod != "" {
		id += "~" + pod
	}
	return id
}
