// Package cluster writes to the API server what the controller decided.
//
// Set hands over what is wanted, whole and without waiting: what there is to say of objects, the waypoints,
// the mesh's roots. Run makes the cluster so, again after failures, and looks once a minute whether it still
// is. Of several controllers the one that holds the Lease weft-controller writes; the others compute the
// same and go on when it is gone.
//
//	status      server-side apply on /status of Gateway API's kinds, Services and ours
//	waypoints   server-side apply of what waypoint/deploy renders, owned by the Gateway; removed when the
//	            Gateway is not ours any more
//	roots       ConfigMap weft-root in weft-system and wherever a waypoint is
//	taints      weft.dev/agent-not-ready on nodes whose agent is not ready
//	Events      of what is refused, missing or broken, once for each time it becomes so
//
// Objects that somebody else made are not taken over.
//
// Apart from that, Record is where all replicas tell each other what the proxies that are connected to them say.
package cluster
