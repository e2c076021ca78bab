package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/version"
)

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "weftctl",
		Short: "See, explain and try the Weft service mesh",
		Long: `weftctl shows what a Weft mesh knows and does, explains why a connection is allowed or refused, checks
files and machines, and raises a whole mesh on one machine to try things in (weftctl lab).`,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{2, err} })
	root.AddCommand(newLab(e), newGet(e), newWhy(e), newAnalyze(e), newCheck(e), newDemo(e), newVersion(e))
	return root
}

func newVersion(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(e.stdout, "weftctl %s (commit %s)\n", version.Version, version.Commit())
			return err
		},
	}
}
