// Package isolate keeps one bad object from stopping a waypoint's configuration.
//
// Almost everything that Envoy would refuse is found in translation. For the rest there is Isolator: it
// publishes what translate makes of each Snapshot, and listens to Envoy's refusals (NACKs). After one it
// finds the objects at fault and puts each back to its last good version, or, where it never had one, to
// what fails closed (translate.Config.Refused); the others go on. A Problem names each of them until its
// content changes, when it is tried again.
//
// How it is found: what the refusal quotes and what changed since the last good state is held back first,
// then everything that went into the refused type, then everything. Once Envoy accepts, the held objects are
// released again by halves, so the search among n objects with one culprit takes about 2·log₂ n publications.
// Every publication only mixes objects in good and new versions; nothing healthy is interrupted, unless it
// is new and held for the moment, when it fails closed.
//
// Envoy says which response it refuses, but not whether it applied the others in it: so after a refusal
// every resource of that type is sent again, under a salted version. Identical ones are no-ops to Envoy.
//
// What Envoy says of a publication is known by its answer where the server can tell (Options.Current), else
// by its silence.
//
// The decisions are in machine, without I/O or clock; Isolator gives it time and a publisher.
package isolate
