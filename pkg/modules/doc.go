// Package modules fetches WebAssembly modules for extensions of waypoints, from https URLs and OCI registries.
//
// Envoy could fetch them itself, but for a route it never does, and lets requests pass meanwhile (decision 023).
// So the controller fetches, and sends the module with the configuration. A module is what its SHA-256 says and
// nothing else; one that was fetched once is never asked for again. While another version is fetched, the
// Fetcher still knows its owner's former one.
package modules
