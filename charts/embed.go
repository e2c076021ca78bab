// Package charts holds the Helm chart that installs Weft on a cluster, for programs that install it
// themselves: weftctl install, tests.
package charts

import "embed"

// Weft is the chart's folder, below "weft".
//
//go:embed all:weft
var Weft embed.FS
