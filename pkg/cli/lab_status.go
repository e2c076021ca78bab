package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab"
)

func newLabStatus(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show programs, pods and services of a lab", Args: cobra.NoArgs,
		Example: "  weftctl lab status",
		RunE:    func(*cobra.Command, []string) error { return e.labStatus(*name) },
	}
}

func (e *env) labStatus(name string) error {
	c, err := lab.Load(name)
	if err != nil {
		return err
	}
	st, err := c.ReadState()
	if err != nil {
		return err
	}
	if !st.Supervisor.Alive() {
		fmt.Fprintf(e.stdout, "Lab %s has no supervisor any more; `weftctl lab down` removes what is left.\n", name)
	}
	pods, err := c.Pods()
	if err != nil {
		return err
	}
	services, err := c.Services()
	if err != nil {
		return err
	}
	programs := newTable("PROGRAM", "PID", "RESTARTS", "AGE")
	for _, n := range st.ProgramNames() {
		p := st.Programs[n]
		pid := "-"
		if p.Alive() {
			pid = fmt.Sprint(p.PID)
		}
		programs.row(n, pid, fmt.Sprint(p.Restarts), age(time.Since(p.Since)))
	}
	table := newTable("NAMESPACE", "POD", "READY", "RESTARTS", "NODE", "MESH", "IP")
	for _, p := range pods {
		table.row(p.Namespace, p.Name, fmt.Sprint(lab.PodReady(p)), fmt.Sprint(restarts(p)), p.Spec.NodeName, e.meshOf(c, p), p.Status.PodIP)
	}
	vips := newTable("NAMESPACE", "SERVICE", "ADDRESS", "PORTS")
	for _, s := range services {
		vips.row(s.Namespace, s.Name, s.Spec.ClusterIP, ports(s))
	}
	for i, t := range []*textTable{programs, table, vips} {
		if i > 0 {
			fmt.Fprintln(e.stdout)
		}
		t.print(e.stdout)
	}
	return nil
}

// meshOf says how the mesh treats a pod now.
func (e *env) meshOf(c *lab.Config, p *corev1.Pod) string {
	if lab.Enrolled(c.Layout, p) {
		return e.green("enrolled")
	}
	return "-"
}

func restarts(p *corev1.Pod) int32 {
	n := int32(0)
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

func ports(s *corev1.Service) string {
	text := ""
	for i, p := range s.Spec.Ports {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(p.Port)
		if p.Name != "" {
			text += "/" + p.Name
		}
	}
	return text
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
