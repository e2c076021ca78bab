package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
)

func newAnalyze(e *env) *cobra.Command {
	var output, trustDomain, clusterDomain string
	cmd := &cobra.Command{
		Use:   "analyze FILE|FOLDER...",
		Short: "Find what is wrong with manifests: schema, dangling references, rules that can never apply",
		Long: `Reads manifests as the controller does and tells, with file and line, what it would not understand, what
refers to nothing, selects nothing or never takes effect, and what to do about it. Needs no mesh.
Exit code 1 when there are errors; warnings alone leave it 0.`,
		Example: "  weftctl analyze examples/shop\n  weftctl analyze -o json policy.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, paths []string) error {
			if output != "" && output != "json" {
				return &exitError{2, fmt.Errorf("-o %s: want json, or nothing for text", output)}
			}
			for _, p := range paths {
				if _, err := os.Stat(p); err != nil {
					return &exitError{2, fmt.Errorf("nothing to analyze: %w", err)}
				}
			}
			src, err := source.Open(source.Options{Dirs: paths})
			if err != nil {
				return err
			}
			objs, problems := src.Load()
			found := controller.Analyze(objs, problems, controller.Config{TrustDomain: trustDomain, ClusterDomain: clusterDomain})
			return e.printAnalysis(found, objs.Count(), output)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "json, or text when empty")
	f.StringVar(&trustDomain, "trust-domain", "", "trust domain of the mesh (default cluster.local)")
	f.StringVar(&clusterDomain, "cluster-domain", "", "suffix of service names (default cluster.local)")
	return cmd
}

func (e *env) printAnalysis(found []controller.Finding, objects int, output string) error {
	bad := 0
	for _, f := range found {
		if f.Severity == source.Error {
			bad++
		}
	}
	if output == "json" {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		if found == nil {
			found = []controller.Finding{}
		}
		if err := enc.Encode(found); err != nil {
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
