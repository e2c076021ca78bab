package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
)

func newLabUpgrade(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade [NODE…]",
		Short: "Replace nodes' ztunnels by new ones, without cutting a connection",
		Long: `Starts a new ztunnel beside the one of each node (default: all nodes, one after the other), from the program that is
there now, and ends the old one when the new one goes on with its connections. Those that cannot be moved drain in the
old one.`,
		Example: "  make build && weftctl lab upgrade\n  weftctl lab upgrade n1",
		RunE: func(cmd *cobra.Command, nodes []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			if len(nodes) == 0 {
				nodes = c.NodeNames()
			}
			for _, n := range nodes {
				u, err := lab.Upgrade(cmd.Context(), c.Layout, n)
				if err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "ztunnel/%s: process %d is now %d, %d connections went on after a pause of %v\n", n, u.Old, u.New, u.Connections, u.Paused.Round(100*time.Microsecond))
			}
			return nil
		},
	}
}
