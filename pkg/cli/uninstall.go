package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/cli/install"
)

func newUninstall(e *env) *cobra.Command {
	var yes bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Weft out of a cluster; pods go on talking, in clear text",
		Long: `Uninstalls the Helm release weft: the agents give every pod back to the plain network and clean their nodes, then the
programs go. Pods are not restarted. What people wrote stays: policies and their kinds, Gateways, and the labels of
namespaces, which take effect again should Weft be installed again.

Exit code 0: it is gone. 1: something failed. 2: called wrongly, or not confirmed.`,
		Example: "  weftctl uninstall\n  weftctl uninstall --yes --timeout 10m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.kube.cluster()
			if err != nil {
				return err
			}
			o := install.Options{Getter: e.kube, Wait: true, Timeout: timeout}
			revision, err := install.Deployed(o)
			if err != nil {
				return c.Explain(err)
			}
			if revision == 0 {
				return fmt.Errorf("%w of %s: nothing to uninstall (installed otherwise? helm list -A)", install.ErrNotInstalled, c.Name)
			}
			e.warnOfWaypoints(cmd.Context(), c)
			if !yes && !e.confirm(fmt.Sprintf("Take Weft out of %s? What is encrypted now will be clear text.", c.Name)) {
				return &exitError{2, errors.New("not confirmed; nothing was changed (--yes does not ask)")}
			}
			fmt.Fprintf(e.stderr, "Uninstalling from %s of %s …\n", api.SystemNamespace, c.Name)
			stop := e.follow(cmd.Context(), c)
			info, err := install.Remove(o)
			stop()
			if err != nil {
				return c.Explain(fmt.Errorf("uninstall: %w (weftctl status shows what is left; uninstall again to go on)", err))
			}
			if info != "" {
				fmt.Fprintln(e.stderr, info)
			}
			fmt.Fprintf(e.stdout, "%s Weft is uninstalled.\n", e.green("✓"))
			return e.leftovers(cmd.Context())
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long it may take")
	return cmd
}

// warnOfWaypoints says what nobody enforces any more once Weft is gone.
func (e *env) warnOfWaypoints(ctx context.Context, c *cluster.Cluster) {
	all, err := (&waypointOptions{e: e, all: true}).find(ctx, c)
	if err != nil {
		return // without the Gateway API there are none
	}
	for _, w := range all {
		if len(w.Users) > 0 {
			fmt.Fprintf(e.stderr, "%s waypoint %s/%s goes: its routes and its policies on requests are nobody's any more for %s\n",
				e.paint("33", "‼"), w.Namespace, w.Name, join(w.Users, identityText))
		}
	}
}

// confirm asks on a terminal, or reads the answer from wherever standard input comes.
func (e *env) confirm(question string) bool {
	fmt.Fprintf(e.stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(e.stdin).ReadString('\n')
	return len(line) > 0 && (line[0] == 'y' || line[0] == 'Y')
}

// leftovers names what is meant to stay, so that nobody wonders.
func (e *env) leftovers(ctx context.Context) error {
	c, err := e.kube.cluster()
	if err != nil {
		return err
	}
	labelled, err := c.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: api.LabelMode})
	if err != nil {
		return nil // it is gone all the same
	}
	for _, n := range labelled.Items {
		fmt.Fprintf(e.stdout, "  namespace %s keeps its label %s=%s\n", n.Name, api.LabelMode, n.Labels[api.LabelMode])
	}
	return nil
}
