package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/cli/checks"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// checkOptions are the flags of `check`.
type checkOptions struct {
	pre, machine bool
	wait         time.Duration
	output       string
}

func newCheck(e *env) *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the mesh of a cluster, or whether a cluster or this machine can have one",
		Long: `Without flags: whether the Weft of the cluster works, group by group, and what to do where it does not. --pre:
whether Weft can be installed there. --machine: whether this machine can be a node, of a lab too; so also where no
cluster is chosen (--context, --kubeconfig, KUBECONFIG). Nothing is changed.

✓ it is so   ‼ it works, but look   × it does not work

Exit code 0: no ×. 1: there is one. 2: called wrongly.`,
		Example: "  weftctl check --pre\n  weftctl check --wait 2m\n  weftctl check -o json\n  sudo weftctl check --machine",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(o.output, "json", "yaml"); err != nil {
				return err
			}
			if o.machine && o.pre {
				return &exitError{2, errors.New("--machine and --pre exclude each other: check this machine, or the cluster")}
			}
			if o.machine || !o.pre && !e.onCluster() {
				return e.printFindings(checkMachine(os.Geteuid()), o.output)
			}
			return e.checkCluster(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.pre, "pre", false, "before an install: whether the cluster can have Weft")
	f.BoolVar(&o.machine, "machine", false, "check this machine's kernel and programs instead")
	f.DurationVar(&o.wait, "wait", 0, "repeat for so long until no × is left")
	outputFlag(cmd, &o.output)
	return cmd
}

// outputFlag adds -o of a command that prints text, or data for programs.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "", "json or yaml (default: text)")
	_ = cmd.RegisterFlagCompletionFunc("output", offerFixed("json", "yaml"))
}

// onCluster reports whether a cluster is meant by commands that know no lab.
func (e *env) onCluster() bool {
	r := &remote{e: e, lab: defaultLab, labGiven: func() bool { return false }}
	on, err := r.onCluster()
	return on || err != nil
}

// gather reads facts of the cluster, with what its programs say.
func gather(ctx context.Context, c *cluster.Cluster, rights bool) *checks.Facts {
	b := &clusterBackend{Cluster: c}
	return checks.Gather(ctx, checks.Options{Cluster: c, Rights: rights, Get: func(ctx context.Context, p *cluster.Program, path string) ([]byte, error) {
		return b.of(p)(ctx, path)
	}})
}

func (e *env) checkCluster(ctx context.Context, o *checkOptions) error {
	c, err := e.kube.cluster()
	if err != nil {
		return err
	}
	groups := checks.Installed
	if o.pre {
		groups = checks.Preflight
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := time.Now().Add(o.wait)
	for {
		results := checks.Judge(gather(ctx, c, o.pre), groups)
		if checks.Worst(results) != checks.Failed || !time.Now().Add(checkEvery).Before(end) {
			return e.printResults(results, o.output)
		}
		if err := sleep(ctx, checkEvery); err != nil {
			return err
		}
	}
}

const checkEvery = 2 * time.Second

// sleep waits, or until the person gives up.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// checkView is what -o json prints.
type checkView struct {
	OK      bool            `json:"ok"`
	Results []checks.Result `json:"results"`
}

func (e *env) printResults(results []checks.Result, output string) error {
	failed := 0
	for _, r := range results {
		if r.Level == checks.Failed {
			failed++
		}
	}
	if output != "" {
		if err := e.printData(checkView{failed == 0, results}, output); err != nil {
			return err
		}
	} else {
		e.printGroups(results)
	}
	if failed > 0 {
		return &exitError{code: 1}
	}
	return nil
}

func (e *env) printGroups(results []checks.Result) {
	group := ""
	counts := map[checks.Level]int{}
	for _, r := range results {
		if r.Group != group {
			if group != "" {
				fmt.Fprintln(e.stdout)
			}
			group = r.Group
			fmt.Fprintln(e.stdout, e.bold(group))
		}
		counts[r.Level]++
		e.printResult(r)
	}
	fmt.Fprintf(e.stdout, "\n%d ✓  %d ‼  %d ×\n", counts[checks.OK], counts[checks.Warning], counts[checks.Failed])
}

func (e *env) printResult(r checks.Result) {
	sign := map[checks.Level]string{checks.OK: e.green("✓"), checks.Warning: e.paint("33", "‼"), checks.Failed: e.red("×")}[r.Level]
	line := sign + " " + r.Name
	if r.Detail != "" {
		line += e.dim(": ") + r.Detail
	}
	fmt.Fprintln(e.stdout, line)
	if r.Hint != "" && r.Level != checks.OK {
		fmt.Fprintf(e.stdout, "    → %s\n", e.asCalled(r.Hint))
	}
}
