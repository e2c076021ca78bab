package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"github.com/weftmesh/weft/e2e/cluster"
)

// tool is a command that hands its arguments to a program: all but --index and --dir before them.
func tool(o *cluster.Options, name, short string, file func(*cluster.Cluster) string) *cobra.Command {
	return &cobra.Command{
		Use: name + " [--index N] ...", Short: short, DisableFlagsInUseLine: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := ownFlags(cmd, args)
			if err != nil {
				return err
			}
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			run := exec.CommandContext(cmd.Context(), file(c), args...)
			run.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
			return attached(run)
		},
	}
}

// ownFlags sets the leading flags that are weft-cluster's, and gives what follows.
func ownFlags(cmd *cobra.Command, args []string) ([]string, error) {
	for len(args) > 0 {
		name, value, joined := strings.Cut(strings.TrimPrefix(args[0], "--"), "=")
		if name != "index" && name != "dir" || !strings.HasPrefix(args[0], "--") {
			break
		}
		args = args[1:]
		if !joined {
			if len(args) == 0 {
				return nil, fmt.Errorf("--%s wants a value", name)
			}
			value, args = args[0], args[1:]
		}
		if err := cmd.Root().PersistentFlags().Set(name, value); err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
	}
	return args, nil
}

func node(o *cluster.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Do something with a node"}
	verb := func(use, short string, args cobra.PositionalArgs, do func(cmd *cobra.Command, c *cluster.Cluster, args []string) error) {
		sub := &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			return do(cmd, c, args)
		}}
		sub.Flags().SetInterspersed(false)
		cmd.AddCommand(sub)
	}
	verb("stop NODE", "Cut its power: all its processes end, its disk stays", cobra.ExactArgs(1), func(cmd *cobra.Command, c *cluster.Cluster, args []string) error {
		return c.StopNode(cmd.Context(), args[0])
	})
	verb("start NODE", "Start one that was stopped", cobra.ExactArgs(1), func(cmd *cobra.Command, c *cluster.Cluster, args []string) error {
		return c.StartNode(cmd.Context(), args[0])
	})
	verb("exec NODE COMMAND ...", "Run a command in the node's namespaces", cobra.MinimumNArgs(2), func(cmd *cobra.Command, c *cluster.Cluster, args []string) error {
		run, err := c.NodeCommand(cmd.Context(), args[0], args[1:]...)
		if err != nil {
			return err
		}
		return attached(run)
	})
	return cmd
}

func control(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "control kill|start PROGRAM", Short: "Kill or start etcd, kube-apiserver, kube-controller-manager or kube-scheduler",
		Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			switch args[0] {
			case "kill":
				return c.KillControl(args[1])
			case "start":
				return c.StartControl(args[1])
			}
			return fmt.Errorf("%q: want kill or start", args[0])
		}}
}

// toolError is the failure of a program that has told its user why.
type toolError struct{ *exec.ExitError }

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return toolError{exit}
	}
	return err
}
