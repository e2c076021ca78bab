package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
)

func newLabLogs(e *env, name *string) *cobra.Command {
	var follow bool
	var container string
	cmd := &cobra.Command{
		Use:     "logs POD|PROGRAM",
		Short:   "Print what a pod or a program wrote (controller, ztunnel/n1, agent/n2, kubelet/n1, proxy/n1, supervisor)",
		Example: "  weftctl lab logs -f ztunnel/n1\n  weftctl lab logs shop/frontend",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			path, err := logOf(c, args[0], container)
			if err != nil {
				return err
			}
			return e.copyLog(cmd.Context(), path, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as more is written")
	cmd.Flags().StringVarP(&container, "container", "c", "", "container of the pod (default: the first)")
	return cmd
}

func logOf(c *lab.Config, what, container string) (string, error) {
	if what == "supervisor" {
		return c.Path("supervisor.log"), nil
	}
	if st, err := c.ReadState(); err == nil && st.Programs[what] != nil {
		return c.LogFile(what), nil
	}
	pods, err := c.Pods()
	if err != nil {
		return "", err
	}
	p, err := findPod(pods, what)
	if err != nil {
		return "", fmt.Errorf("%w; nor a program of that name", err)
	}
	if container == "" {
		container = p.Spec.Containers[0].Name
	}
	return c.PodLog(p.Namespace, p.Name, container), nil
}

// copyLog prints a log; with follow it goes on, from before the file is there until it is removed with its lab.
func (e *env) copyLog(ctx context.Context, path string, follow bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	f, err := os.Open(path)
	for ; errors.Is(err, fs.ErrNotExist) && follow; f, err = os.Open(path) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nothing is written yet (-f waits for it): %w", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		_, gone := os.Stat(path) // asked first: what is written until then is printed
		if _, err := io.Copy(e.stdout, f); err != nil || !follow || gone != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
