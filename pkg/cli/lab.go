package cli

import (
	"github.com/spf13/cobra"
)

// defaultLab is the lab that commands mean when none is named.
const defaultLab = "lab"

func newLab(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Raise a whole mesh on this machine: nodes and pods as network namespaces (root)",
		Long: `A lab is a small cluster on one machine: nodes and pods are network namespaces, programs are processes,
objects are the YAML files of a folder. Edit a file and it takes effect.`,
		Example: `  weftctl lab up -f examples/shop
  weftctl lab exec shop/frontend -- shop-client get http://cart
  weftctl lab down`,
	}
	name := cmd.PersistentFlags().String("name", defaultLab, "name of the lab")
	cmd.AddCommand(
		newLabUp(e, name), newLabDown(e, name), newLabExec(e, name), newLabStatus(e, name), newLabLogs(e, name), newLabKill(e, name), newLabUpgrade(e, name),
		newLabSupervise(e, name), newLabKubelet(e, name), newLabNodeProxy(e, name), newLabPodInit(),
	)
	return cmd
}
