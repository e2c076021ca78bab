// Package controller turns objects into the mesh's configuration, and hands it out.
//
// Compile is the core: objects in, one model.Snapshot and the status of each object out, without I/O. It
// is tested by files: testdata/*.in.yaml are manifests, *.out.yaml what becomes of them (go test -update
// rewrites those). Analyze says what is wrong with manifests, with file, line and what to do next.
//
// Controller is the machinery around it: a source changes → Compile → certificates' policy, ztunnels'
// xDS, each waypoint's Envoy configuration, waypoints' deployments, statuses. A change is in force in a
// small part of a second. The data path does not depend on it: when it is gone, everybody goes on with
// what he has.
//
// What fails closed here:
//
//   - A policy that ztunnels cannot evaluate, or with an invalid rule: an ALLOW rule matches nothing, a DENY
//     policy everything.
//   - A policy that cannot be read and never could: everything is refused at its target, where that can be read.
//   - A policy for a Service that no waypoint serves denies all calls to the service's workloads.
//   - Policies of workloads behind a waypoint are enforced at the waypoint, where the caller is still known;
//     the workload's ztunnel lets that one waypoint in and judges everybody else itself (docs/decisions/006).
//   - A waypoint that is named and is not there stays named, so that ztunnels refuse.
//   - A route's rule with anything that cannot be served answers 500.
package controller
