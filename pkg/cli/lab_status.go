package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
)

func newLabStatus(e *env, name *string) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show programs, pods and services of a lab, and what is wrong with its manifests",
		Long: `Shows what a lab runs, and which objects of its manifests are not in force as written, with file and line. A
broken edit leaves the last good version of its object in force, and is listed here until it is mended.`,
		Example: "  weftctl lab status\n  weftctl lab status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkOutput(output, "json", "yaml"); err != nil {
				return err
			}
			return e.labStatus(cmd.Context(), *name, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json or yaml (default: tables)")
	_ = cmd.RegisterFlagCompletionFunc("output", offerFixed("json", "yaml"))
	return cmd
}

func (e *env) labStatus(ctx context.Context, name, output string) error {
	c, err := lab.Load(name)
	if err != nil {
		return err
	}
	v, err := viewLab(ctx, c)
	if err != nil {
		return err
	}
	if output != "" {
		return e.printData(v, output)
	}
	e.printLab(v)
	return nil
}

func (e *env) printLab(v *labView) {
	if v.Supervisor == 0 {
		fmt.Fprintf(e.stdout, "Lab %s has no supervisor any more; `weftctl lab down --name %[1]s` removes what is left.\n", v.Name)
	}
	programs := newTable("PROGRAM", "PID", "RESTARTS", "AGE")
	for _, p := range v.Programs {
		pid := "-"
		if p.PID != 0 {
			pid = fmt.Sprint(p.PID)
		}
		programs.row(p.Name, pid, fmt.Sprint(p.Restarts), age(time.Since(p.Since)))
	}
	pods := newTable("NAMESPACE", "POD", "READY", "RESTARTS", "NODE", "MESH", "IP")
	for _, p := range v.Pods {
		mesh := "-"
		if p.Enrolled {
			mesh = e.green("enrolled")
		}
		pods.row(p.Namespace, p.Name, fmt.Sprint(p.Ready), fmt.Sprint(p.Restarts), p.Node, mesh, p.IP)
	}
	services := newTable("NAMESPACE", "SERVICE", "ADDRESS", "PORTS")
	for _, s := range v.Services {
		services.row(s.Namespace, s.Name, s.Address, s.Ports)
	}
	for i, t := range []*textTable{programs, pods, services} {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		t.print(e.stdout)
	}
	e.printLabProblems(v)
}

// printLabProblems is silent when all is well.
func (e *env) printLabProblems(v *labView) {
	if v.Unasked != "" {
		fmt.Fprintf(e.stdout, "\n%s: %s\n", e.red("The controller does not answer"), v.Unasked)
	}
	if len(v.Problems) == 0 {
		return
	}
	fmt.Fprintf(e.stdout, "\n%s\n", e.bold("Not in force as written:"))
	for _, p := range v.Problems {
		fmt.Fprintf(e.stdout, "  %s\n", p)
	}
}

// age writes a duration in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
