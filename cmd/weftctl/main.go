// Weftctl shows, explains and checks a Weft mesh, and raises one on this machine to try things in.
package main

import (
	"os"

	"github.com/weftmesh/weft/pkg/cli"
)

func main() { os.Exit(cli.Main()) }
