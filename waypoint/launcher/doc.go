// Package launcher runs one stock Envoy as a waypoint, and is all that Envoy ever talks to.
//
//	controller ◄══TLS, token══ launcher ◄── ads.sock ────── Envoy   configuration; what a patch has changed, after a trial
//	CA         ◄══TLS, token══ launcher ── launcher.sock ──► Envoy   SDS: certificate and roots, renewed
//	stdout, :15020/metrics  ◄── launcher ◄─ launcher.sock ── Envoy   access logs, one entry a request
//	                           launcher ── admin.sock ─────► Envoy   readiness, drain, stop
//
// What an EnvoyPatch has changed is tried by an Envoy of its own first (gate, waypoint/trial); refused, Envoy never
// sees it. A module at which its watchdog ended an Envoy is kept from the next (loops). All else is forwarded as it is.
//
// The token and the roots are read anew at each use, so neither their rotation nor a controller that comes
// and goes concerns Envoy. When the controller is away Envoy goes on with what it has. When Envoy dies it
// is started again, and the pod is not ready meanwhile; when the launcher dies the kernel takes Envoy with
// it. On a signal the pod first stops being ready, then connections drain, then Envoy ends.
package launcher
