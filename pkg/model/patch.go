package model

// EnvoyPatch is changes to the Envoy configuration of a target.
type EnvoyPatch struct {
}
