// Package examples holds the shop's manifests and the demo's steps, embedded so that weftctl can raise
// them from anywhere. shop/ is what "weftctl lab up -f examples/shop" reads; steps/N-name/ holds what
// step N of the demo adds to or replaces in it.
package examples

import "embed"

//go:embed shop/*.yaml steps/*/*.yaml
var Files embed.FS
