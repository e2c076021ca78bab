package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab"
)

// findPod finds the pod that a person means: namespace/name or name, of the pod itself, or of what owns it.
// Of several it takes the first that is ready.
func findPod(pods []*corev1.Pod, want string) (*corev1.Pod, error) {
	namespace, name, ok := strings.Cut(want, "/")
	if !ok {
		namespace, name = "", want
	}
	var best *corev1.Pod
	for _, p := range pods {
		if namespace != "" && p.Namespace != namespace {
			continue
		}
		if p.Name == name {
			return p, nil
		}
		if strings.HasPrefix(p.Name, name+"-") && (best == nil || !lab.PodReady(best) && lab.PodReady(p)) {
			best = p
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no pod %q in this lab (see: weftctl lab status)", want)
	}
	return best, nil
}

func newLabExec(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "exec POD -- COMMAND…",
		Short: "Run a command inside a pod",
		Long: `Runs a command in the pod's network, cgroup and files, and ends with its exit code: 128 and the signal's
number when it was killed, 127 when there is no such program. POD is a pod's name, or the beginning of it
(shop/frontend). Any program of this machine will do; the programs beside weftctl (shop-client) are in PATH.`,
		Example: "  weftctl lab exec shop/frontend -- shop-client get http://cart/\n  weftctl lab exec shop/frontend -- ip addr",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			pods, err := c.Pods()
			if err != nil {
				return err
			}
			pod, err := findPod(pods, args[0])
			if err != nil {
				return err
			}
			err = lab.Exec(cmd.Context(), c.Layout, pod, args[1:], lab.Streams{In: e.stdin, Out: e.stdout, Err: e.stderr})
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return &exitError{code: lab.ExitCode(err)}
			}
			return err
		},
	}
}

func newLabKill(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use:     "kill PROGRAM…",
		Short:   "Kill a program of the mesh with SIGKILL, to see what happens (ztunnel/n1, agent/n2, controller)",
		Example: "  weftctl lab kill ztunnel/n1",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			for _, program := range args {
				pid, err := lab.Kill(c.Layout, program)
				if err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "killed %s (pid %d)\n", program, pid)
			}
			return nil
		},
	}
}

func newLabDown(e *env, name *string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "down",
		Short:   "Take a lab away, with everything that it made",
		Example: "  weftctl lab down\n  weftctl lab down --all",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if os.Geteuid() != 0 {
				return errors.New("only root can remove network namespaces, cgroups and eBPF: sudo weftctl lab down")
			}
			names := []string{*name}
			if all {
				names = lab.Names()
			}
			for _, n := range names {
				l := lab.Layout{Name: n, Nodes: 1}
				if err := l.Validate(); err != nil {
					return err
				}
				if err := lab.Down(l); err != nil {
					return err
				}
				fmt.Fprintf(e.stdout, "lab %s is down\n", n)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "every lab of this machine")
	return cmd
}
