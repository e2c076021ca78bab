package cli

import (
	"github.com/spf13/cobra"
)

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "weftctl",
		Short: "See, explain and try the Weft service mesh",
		Long: `weftctl installs Weft on a Kubernetes cluster, puts namespaces into the mesh, shows what the mesh knows and does,
explains why a connection is allowed or refused, checks clusters, files and machines, and raises a whole mesh on one
machine to try things in (weftctl lab). As kubectl-weft in PATH it is kubectl's plugin: kubectl weft status.`,
		Example: `  weftctl install
  weftctl enroll shop
  weftctl status
  weftctl get workloads -o wide
  weftctl why shop/frontend payments.shop:9000`,
		SilenceErrors: true, SilenceUsage: true,
	}
	if e.plugin {
		root.Use, root.Annotations = "kubectl-weft", map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl weft"}
	}
	e.kube = newKubeFlags(root)
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{2, err} })
	root.AddCommand(newLab(e), newGet(e), newWhy(e), newAnalyze(e), newCheck(e), newDemo(e), newVersion(e), newOptions(e),
		newInstall(e), newUninstall(e), newStatus(e), newEnroll(e), newWaypoint(e), newLogs(e), newBugReport(e), newRootCA(e))
	completeLab(root)
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil {
		c.Example = "  source <(weftctl completion bash)\n  weftctl completion zsh > \"${fpath[1]}/_weftctl\"\n  weftctl completion fish > ~/.config/fish/completions/weftctl.fish"
	}
	strict(root)
	e.adapt(root)
	return root
}
