package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/lab"
)

// programVersion is what one running program says of itself.
type programVersion struct {
	Name string `json:"name"`
	version.Info
	Error string `json:"error,omitempty"`
}

// versions is what `version -o json` prints.
type versions struct {
	Client   version.Info     `json:"client"`
	Programs []programVersion `json:"programs,omitempty"`
}

func newVersion(e *env) *cobra.Command {
	var r remote
	var output string
	var clientOnly bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the versions of weftctl and of the mesh's running programs",
		Long: `Prints weftctl's version, and those of the programs of the mesh where one runs.
Exit code 1 when a program of the mesh does not answer.
` + whereText,
		Example: "  weftctl version\n  weftctl version --client -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output, "json", "yaml"); err != nil {
				return err
			}
			v := versions{Client: version.Get()}
			if !clientOnly {
				var err error
				if v.Programs, err = r.versions(cmd.Context(), cmd.Flags().Changed("name")); err != nil {
					return err
				}
			}
			return e.printVersions(v, output)
		},
	}
	r.flags(e, cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml (default: text)")
	cmd.Flags().BoolVar(&clientOnly, "client", false, "only weftctl's own")
	return cmd
}

// versions asks every program of the mesh. That there is no lab is only an error when one was named.
func (r *remote) versions(ctx context.Context, named bool) ([]programVersion, error) {
	b, err := r.backend()
	if err != nil {
		return nil, err
	}
	pages, err := b.programs(ctx)
	if errors.Is(err, lab.ErrNoLab) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []programVersion
	bodies, failed := askAll(ctx, pages, "/version")
	for _, name := range sortedKeys(pages) {
		p := programVersion{Name: name}
		err := failed[name]
		if err == nil {
			err = decodePage(bodies[name], "/version", &p.Info)
		}
		if err != nil {
			p.Error = err.Error()
		}
		out = append(out, p)
	}
	return out, nil
}

func (e *env) printVersions(v versions, output string) error {
	silent := 0
	for _, p := range v.Programs {
		if p.Error != "" {
			silent++
		}
	}
	if output != "" {
		if err := e.printData(v, output); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(e.stdout, "weftctl %s (commit %s, %s)\n", v.Client.Version, v.Client.Commit, v.Client.Go)
		for _, p := range v.Programs {
			switch {
			case p.Error != "":
				fmt.Fprintf(e.stdout, "%s: %s\n", p.Name, p.Error)
			case !same(p.Info, v.Client):
				fmt.Fprintf(e.stdout, "%s %s (commit %s) %s\n", p.Name, p.Version, p.Commit, e.paint("33", "another than weftctl's"))
			default:
				fmt.Fprintf(e.stdout, "%s %s (commit %s)\n", p.Name, p.Version, p.Commit)
			}
		}
	}
	if silent > 0 {
		return &exitError{1, fmt.Errorf("%d of %d programs did not say their version", silent, len(v.Programs))}
	}
	return nil
}

// same reports whether two programs are of one build, as far as they know.
func same(a, b version.Info) bool {
	known := a.Commit != "unknown" && b.Commit != "unknown"
	return a.Version == b.Version && (!known || a.Commit == b.Commit)
}
