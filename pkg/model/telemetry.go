package model

// Telemetry is what is logged, traced and counted at a target.
type Telemetry struct {
}
