package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/checks"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/cli/install"
)

// installOptions are the flags of `install`.
type installOptions struct {
	values  install.Values
	dryRun  bool
	force   bool
	wait    bool
	timeout time.Duration
}

func newInstall(e *env) *cobra.Command {
	o := &installOptions{}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install Weft on a cluster, or upgrade it: the chart that is part of weftctl",
		Long: `Runs the preflight (weftctl check --pre), then installs the chart as Helm release weft in namespace weft-system, and
waits until every program is ready. Where the release is there already it is upgraded to this weftctl's version, with
the values that it was given before. Helm can take over at any time: helm upgrade weft …, helm rollback weft.

Exit code 0: installed, or with --dry-run: could be. 1: something stands against it. 2: called wrongly.`,
		Example: `  weftctl install
  weftctl install --profile gke --set controller.replicas=3
  weftctl install --values mine.yaml --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.install(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.values.Profile, "profile", "", "values for a platform: "+strings.Join(install.Profiles(), ", "))
	f.StringArrayVarP(&o.values.Files, "values", "f", nil, "file of values (repeatable; the last counts)")
	f.StringArrayVar(&o.values.Set, "set", nil, "one value, name=value (repeatable; over --values)")
	f.StringArrayVar(&o.values.Strings, "set-string", nil, "one value that is text, name=value (repeatable)")
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be applied, and change nothing")
	f.BoolVar(&o.force, "force", false, "go on although the preflight finds a ×")
	f.BoolVar(&o.wait, "wait", true, "wait until the programs are ready")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long that may take")
	_ = cmd.RegisterFlagCompletionFunc("profile", offerFixed(install.Profiles()...))
	return cmd
}

func (e *env) install(ctx context.Context, o *installOptions) error {
	c, err := e.kube.cluster()
	if err != nil {
		return err
	}
	if _, err := o.values.Merge(); err != nil {
		return &exitError{2, err}
	}
	if err := e.preflight(ctx, c, o); err != nil {
		return err
	}
	stop := func() {}
	if o.wait && !o.dryRun {
		fmt.Fprintf(e.stderr, "Installing into %s of %s …\n", api.SystemNamespace, c.Name)
		stop = e.follow(ctx, c)
	}
	result, err := install.Run(ctx, install.Options{Getter: e.kube, Values: o.values, DryRun: o.dryRun, Wait: o.wait, Timeout: o.timeout})
	stop()
	switch {
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: not everything became ready within %s; weftctl status and weftctl check say what (the release stays, install again to go on)", err, o.timeout)
	case err != nil:
		return c.Explain(fmt.Errorf("install: %w", err))
	case o.dryRun:
		_, err := fmt.Fprint(e.stdout, result.Manifest)
		return err
	}
	word := "installed"
	if result.Upgraded {
		word = "upgraded"
	}
	fmt.Fprintf(e.stdout, "%s Weft is %s (revision %d).\n", e.green("✓"), word, result.Revision)
	fmt.Fprintf(e.stdout, "%s", e.asCalled("Next: weftctl check, then put a namespace into the mesh: weftctl enroll NAMESPACE\n"))
	return nil
}

// preflight says on stderr what is not as it should be, and fails where something would not work.
func (e *env) preflight(ctx context.Context, c *cluster.Cluster, o *installOptions) error {
	results := checks.Judge(checks.Gather(ctx, checks.Options{Cluster: c, Rights: true}), checks.Preflight)
	say := &env{stdout: e.stderr, color: e.color, plugin: e.plugin}
	for _, r := range results {
		if r.Level != checks.OK {
			say.printResult(r)
		}
	}
	if checks.Worst(results) == checks.Failed && !o.force {
		return &exitError{1, errors.New("the preflight found what would not work; nothing was changed (--force goes on)")}
	}
	fmt.Fprintf(e.stderr, "Preflight of %s: %d checks done\n", c.Name, len(results))
	return nil
}

// follow tells how the programs come up, until it is stopped.
func (e *env) follow(ctx context.Context, c *cluster.Cluster) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		last := ""
		for sleep(ctx, time.Second) == nil {
			text := progress(ctx, c)
			if text != "" && text != last {
				fmt.Fprintln(e.stderr, "  "+text)
				last = text
			}
		}
	}()
	return func() { cancel(); <-done }
}

// progress is a line that says how many of each program are ready.
func progress(ctx context.Context, c *cluster.Cluster) string {
	all, err := c.Programs(ctx)
	if err != nil {
		return ""
	}
	var parts []string
	for _, kind := range []string{cluster.Controller, cluster.Agent, cluster.Ztunnel} {
		of := cluster.Of(kind, all)
		ready := 0
		for _, p := range of {
			if p.Ready {
				ready++
			}
		}
		if len(of) > 0 {
			parts = append(parts, fmt.Sprintf("%s %d/%d", strings.TrimPrefix(kind, "weft-"), ready, len(of)))
		}
	}
	return strings.Join(parts, ", ")
}
