// Command weft-soak drives the demo's mesh for a long time and looks for what only time shows: data races,
// leaks, requests that fail for no reason, clear text on the link. `make soak MINUTES=30` builds everything
// with the race detector and runs it, as root.
//
// It raises a lab with the shop and all of the demo's steps in force (enrolled, policy, STRICT, waypoint
// with its route, fault), lets three pods call the others at a constant rate (package calls), and meanwhile:
//
//   - once, early: an agent and a ztunnel are restarted;
//   - every few minutes: the policy is edited and edited back, each time until a caller feels it; a
//     Deployment is rolled; all the time, certificates of two minutes are renewed;
//   - every ten seconds: goroutines, live heap, memory and file descriptors of every program of the mesh,
//     sockets of every network namespace, each log, and what crossed the link.
//
// It fails, with exit code 1, when
//
//   - a log holds a report of the race detector, a panic or a fatal error, or a program ended by itself;
//   - a call failed outside of the windows in which a restart or a roll excuses it, or more than a few
//     did inside of one;
//   - a marker that only the mesh carries was readable on the link, or anything but the tunnel crossed it;
//   - certificates were not renewed, or one was out of date;
//   - a series grew (package trend says what that is).
//
// The table on standard output and build/soak.json hold the figures. Ctrl-C takes everything down.
package main
