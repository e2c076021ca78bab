// Package conformance runs Gateway API's own mesh suite, unchanged, against the cluster of the current kubeconfig.
//
// `make conformance` calls it with Weft installed. Which features are tested is not said here: they are those that
// the GatewayClass weft-waypoint declares in its status, so nothing is declared that was not tested. Every test of
// a declared feature has to pass, none may skip.
//
// The suite knows nothing of waypoints, which apply HTTP routes here. As somebody who wants such routes would do,
// the runner makes a waypoint in each of the suite's namespaces before the suite fills them, and labels the
// namespaces: weft.dev/dataplane-mode=ambient and weft.dev/use-waypoint=waypoint. The suite's own manifests, timeouts
// and tests stay as they are.
//
// Without Weft, -waypoint=false and -supported-features show what a cluster passes by itself.
package conformance
