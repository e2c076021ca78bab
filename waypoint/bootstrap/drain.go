package bootstrap

// DrainArgs are Envoy's arguments for how connections end whose listener has changed, as the first Telemetry of a
// waypoint changes it: those of requests with their next answer, and streams that go on after an hour, which is how
// long Envoy keeps what such a listener was.
func DrainArgs() []string { return []string{"--drain-time-s", "3600", "--drain-strategy", "immediate"} }
