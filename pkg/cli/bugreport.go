package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/cli/report"
)

func newBugReport(e *env) *cobra.Command {
	var file string
	var lines int64
	cmd := &cobra.Command{
		Use:   "bug-report",
		Short: "Gather what others need to find a fault: versions, checks, objects, events, pages, logs in one file",
		Long: `Writes a tar.gz with versions, the result of weftctl check, the objects that the mesh reads with their status, events,
and the pages and logs of Weft's programs. Secrets are never read; keys, tokens and passwords are taken out of every
text, and of other people's pods only what concerns the mesh is kept. It does name namespaces, pods, services and
addresses: look into it before you give it away.

Exit code 0: written; what could not be had is noted in it. 1: nothing was written. 2: called wrongly.`,
		Example: "  weftctl bug-report\n  weftctl bug-report --file /tmp/report.tar.gz --lines 500",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.kube.cluster()
			if err != nil {
				return err
			}
			if file == "" {
				file = "weft-report-" + time.Now().UTC().Format("20060102-150405") + ".tar.gz"
			}
			return e.bugReport(cmd.Context(), c, file, lines)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "where to write it (default: weft-report-DATE-TIME.tar.gz here)")
	cmd.Flags().Int64Var(&lines, "lines", 5000, "lines of each log, from its end")
	return cmd
}

func (e *env) bugReport(ctx context.Context, c *cluster.Cluster, file string, lines int64) error {
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &exitError{2, fmt.Errorf("%s is there already: choose another --file", file)}
	}
	if err != nil {
		return err
	}
	b := &clusterBackend{Cluster: c}
	files, err := report.Write(ctx, out, report.Options{
		Cluster: c, Lines: lines, Versions: map[string]any{"weftctl": version.Get(), "cluster": c.Name},
		Get:      func(ctx context.Context, p *cluster.Program, path string) ([]byte, error) { return b.of(p)(ctx, path) },
		Progress: func(what string) { fmt.Fprintf(e.stderr, "  %s\n", what) },
	})
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(file)
		return fmt.Errorf("bug-report: %w", err)
	}
	fmt.Fprintf(e.stdout, "%s: %d files. It names namespaces, pods, services and addresses: look into it before you give it away.\n", file, len(files))
	return nil
}
