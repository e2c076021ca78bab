package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
)

func newAnalyze(e *env) *cobra.Command {
	var output string
	var cfg controller.Config
	cmd := &cobra.Command{
		Use:   "analyze FILE|FOLDER|-…",
		Short: "Find what is wrong with manifests: schema, dangling references, rules that can never apply",
		Long: `Reads manifests as the controller does and tells, with file and line, what it would not understand, what
refers to nothing, selects nothing or never takes effect, and what to do about it. "-" reads standard input.
Needs no mesh. Exit code 0: no errors, perhaps warnings. 1: errors. 2: called wrongly.`,
		Example: "  weftctl analyze examples/shop\n  weftctl analyze -o json policy.yaml\n  kubectl get -A -o yaml gateways,httproutes | weftctl analyze -",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			if err := checkOutput(output, "json", "yaml"); err != nil {
				return err
			}
			m, err := e.readManifests(paths)
			if err != nil {
				return err
			}
			cfg.Now = time.Now()
			found := controller.Analyze(m.objects, m.problems, cfg)
			for i := range found {
				found[i].File = m.shown(found[i].File)
			}
			return e.printAnalysis(found, m.objects.Count(), output)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "json or yaml (default: text)")
	domainFlags(cmd, &cfg)
	_ = cmd.RegisterFlagCompletionFunc("output", offerFixed("json", "yaml"))
	return cmd
}

// domainFlags say what mesh the manifests are meant for.
func domainFlags(cmd *cobra.Command, cfg *controller.Config) {
	f := cmd.Flags()
	f.StringVar(&cfg.TrustDomain, "trust-domain", "", "trust domain of the mesh that files are meant for (default cluster.local)")
	f.StringVar(&cfg.ClusterDomain, "cluster-domain", "", "suffix of service names in the mesh that files are meant for (default cluster.local)")
}

func (e *env) printAnalysis(found []controller.Finding, objects int, output string) error {
	bad := 0
	for _, f := range found {
		if f.Severity == source.Error {
			bad++
		}
	}
	if output != "" {
		if err := e.printData(append([]controller.Finding{}, found...), output); err != nil {
			return err
		}
	} else {
		for _, f := range found {
			fmt.Fprintln(e.stdout, f)
		}
		fmt.Fprintf(e.stdout, "%d objects: %d errors, %d warnings\n", objects, bad, len(found)-bad)
	}
	if bad > 0 {
		return &exitError{1, errors.New("the manifests have errors")}
	}
	return nil
}
