// Command weft-cni is the CNI plugin that holds a pod's start until the node's agent has captured it. The container
// runtime executes it; weft-agent installs it. See package plugin.
package main

import (
	"os"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/cni/plugin"
)

func main() {
	os.Exit(plugin.Main("CNI plugin weft-cni " + version.Version))
}
