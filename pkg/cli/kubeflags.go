package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// kubeFlags choose a Kubernetes cluster, as kubectl's flags of the same names do.
type kubeFlags struct {
	*genericclioptions.ConfigFlags
	set  *pflag.FlagSet
	open func(cluster.Source) (*cluster.Cluster, error)
}

// newKubeFlags adds the flags to every command. Help shows the two that people need; `options` lists all.
func newKubeFlags(root *cobra.Command) *kubeFlags {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard) // what matters comes back as an error
	k := &kubeFlags{ConfigFlags: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag(), set: pflag.NewFlagSet("kubeconfig", pflag.ContinueOnError), open: cluster.Open}
	k.Namespace = nil // no flag: commands that have one say what none means
	k.AddFlags(k.set)
	system := api.SystemNamespace
	k.Namespace = &system // for Helm
	k.set.VisitAll(func(f *pflag.Flag) { f.Hidden = f.Name != "kubeconfig" && f.Name != "context" })
	root.PersistentFlags().AddFlagSet(k.set)
	_ = root.RegisterFlagCompletionFunc("context", offer(func(*cobra.Command, []string) []string {
		raw, err := k.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil
		}
		return sortedKeys(raw.Contexts)
	}))
	return k
}

// given reports whether a cluster was chosen by a flag.
func (k *kubeFlags) given() bool {
	changed := false
	k.set.VisitAll(func(f *pflag.Flag) { changed = changed || f.Changed })
	return changed
}

// known reports whether there is a kubeconfig at all, or a pod's service account.
func (k *kubeFlags) known() bool {
	if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" || os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return true
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(home, clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName))
	return err == nil
}

// cluster connects to the chosen cluster.
func (k *kubeFlags) cluster() (*cluster.Cluster, error) { return k.open(k.ConfigFlags) }

// newOptions is kubectl's command of this name: flags that every command has.
func newOptions(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "List the flags by which every command chooses a cluster and a user, as kubectl's",
		Example: "  weftctl options", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			shown := pflag.NewFlagSet("options", pflag.ContinueOnError)
			e.kube.set.VisitAll(func(f *pflag.Flag) {
				visible := *f
				visible.Hidden = false
				shown.AddFlag(&visible)
			})
			_, err := fmt.Fprintf(e.stdout, "Every command takes these; they mean what they mean to kubectl:\n\n%s", shown.FlagUsages())
			return err
		},
	}
}

// contextNamespace is the namespace of the kubeconfig's context.
func (k *kubeFlags) contextNamespace() string {
	raw, err := k.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return "default"
	}
	name := raw.CurrentContext
	if k.Context != nil && *k.Context != "" {
		name = *k.Context
	}
	if c := raw.Contexts[name]; c != nil && c.Namespace != "" {
		return c.Namespace
	}
	return "default"
}
