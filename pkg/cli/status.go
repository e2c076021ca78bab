package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/checks"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// statusView is what `status -o json` prints.
type statusView struct {
	Cluster  string          `json:"cluster"`
	Healthy  bool            `json:"healthy"`
	Programs []kindView      `json:"programs"`
	Nodes    nodesView       `json:"nodes"`
	Pods     []checks.Tally  `json:"pods"`
	Expiring []string        `json:"expiringCertificates"`
	Faults   []string        `json:"faults"`   // in force
	Problems []checks.Result `json:"problems"` // what `check` says that is not well
}

// kindView is one kind of program.
type kindView struct {
	Name     string   `json:"name"`
	Ready    int      `json:"ready"`
	Pods     int      `json:"pods"`
	Restarts int      `json:"restarts"`
	Versions []string `json:"versions"` // as they say; of one that does not answer, its image's tag
	Trouble  []string `json:"trouble,omitempty"`
}

// nodesView counts nodes that can hold enrolled pods.
type nodesView struct {
	Ready int `json:"ready"` // with an agent and a ztunnel that are
	All   int `json:"all"`
}

func newStatus(e *env) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the mesh of a cluster: programs, nodes, enrolled pods, certificates, problems",
		Long: `Shows at a glance what runs, in which version, how many of the pods that are labelled are captured, which certificates
are not renewed, which faults somebody has injected, and what is wrong now. A lab has weftctl lab status.

Exit code 0: all is well, or only warnings. 1: something does not work, or Weft is not installed. 2: called wrongly.`,
		Example: "  weftctl status\n  weftctl status --context production -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output, "json", "yaml"); err != nil {
				return err
			}
			c, err := e.kube.cluster()
			if err != nil {
				return err
			}
			return e.status(cmd.Context(), c, output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (e *env) status(ctx context.Context, c *cluster.Cluster, output string) error {
	f := gather(ctx, c, false)
	if f.Unreachable != nil {
		return c.Explain(f.Unreachable)
	}
	if err := f.Errors["programs"]; err != nil {
		return err
	}
	if len(f.Programs) == 0 {
		return fmt.Errorf("no program of Weft runs in namespace %s of %s: install it (weftctl install), or choose another cluster (--context)", api.SystemNamespace, c.Name)
	}
	v := viewStatus(c.Name, f)
	if output == "" {
		e.printStatus(v)
	} else if err := e.printData(v, output); err != nil {
		return err
	}
	if !v.Healthy {
		return &exitError{code: 1}
	}
	return nil
}

// viewStatus decides without asking anybody.
func viewStatus(name string, f *checks.Facts) statusView {
	v := statusView{Cluster: name, Pods: f.Tallies(), Expiring: append([]string{}, f.Expiring()...), Faults: append([]string{}, f.FaultsInForce()...), Problems: []checks.Result{}}
	for _, kind := range []string{cluster.Controller, cluster.Agent, cluster.Ztunnel, api.WaypointClass} {
		if of := cluster.Of(kind, f.Programs); len(of) > 0 || kind != api.WaypointClass {
			v.Programs = append(v.Programs, viewKind(kind, of, f.Versions))
		}
	}
	ready := map[string]int{}
	for _, p := range f.Programs {
		if p.Ready && (p.Kind == cluster.Agent || p.Kind == cluster.Ztunnel) {
			ready[p.Node]++
		}
	}
	for _, n := range f.Nodes {
		v.Nodes.All++
		if ready[n.Name] >= 2 {
			v.Nodes.Ready++
		}
	}
	results := checks.Judge(f, checks.Installed)
	v.Healthy = checks.Worst(results) != checks.Failed
	for _, r := range results {
		if r.Level != checks.OK {
			v.Problems = append(v.Problems, r)
		}
	}
	return v
}

func viewKind(kind string, of []*cluster.Program, said map[string]string) kindView {
	v := kindView{Name: strings.TrimPrefix(kind, "weft-"), Pods: len(of), Versions: []string{}}
	seen := map[string]bool{}
	for _, p := range of {
		v.Restarts += int(p.Restarts)
		if p.Ready {
			v.Ready++
		} else {
			v.Trouble = append(v.Trouble, p.Name()+": "+p.Trouble())
		}
		version := said[p.Name()]
		if version == "" {
			version = p.Image[strings.LastIndexByte(p.Image, ':')+1:]
		}
		seen[version] = true
	}
	v.Versions = append(v.Versions, sortedKeys(seen)...)
	return v
}

func (e *env) printStatus(v statusView) {
	fmt.Fprintf(e.stdout, "%s\n\n", e.bold("Weft on "+v.Cluster))
	t := newTable("PROGRAM", "READY", "RESTARTS", "VERSION", "NOT READY")
	for _, p := range v.Programs {
		ready := fmt.Sprintf("%d/%d", p.Ready, p.Pods)
		if p.Ready < p.Pods || p.Pods == 0 {
			ready = e.red(ready)
		}
		t.row(p.Name, ready, fmt.Sprint(p.Restarts), strings.Join(p.Versions, ", "), strings.Join(p.Trouble, "; "))
	}
	t.print(e.stdout)
	fmt.Fprintf(e.stdout, "\nNodes with agent and ztunnel ready: %d of %d\n\n", v.Nodes.Ready, v.Nodes.All)
	if len(v.Pods) == 0 {
		fmt.Fprintln(e.stdout, e.asCalled("No pod is in the mesh, and none is labelled so: weftctl enroll NAMESPACE"))
	} else {
		t := newTable("NAMESPACE", "ENROLLED", "PENDING", "LEAVING")
		for _, n := range v.Pods {
			t.row(n.Namespace, fmt.Sprintf("%d/%d", n.Enrolled, n.Expected), join(n.Pending, identityText), join(n.Leaving, identityText))
		}
		t.print(e.stdout)
	}
	for i, line := range v.Expiring {
		if i == 0 {
			fmt.Fprintf(e.stdout, "\n%s\n", e.red("Certificates that are not renewed"))
		}
		fmt.Fprintln(e.stdout, "  "+line)
	}
	for i, line := range v.Faults {
		if i == 0 {
			fmt.Fprintf(e.stdout, "\n%s\n", e.red("Faults in force, on purpose"))
		}
		fmt.Fprintln(e.stdout, "  "+line)
	}
	for i, r := range v.Problems {
		if i == 0 {
			fmt.Fprintf(e.stdout, "\n%s\n", e.bold("Problems"))
		}
		e.printResult(r)
	}
}
