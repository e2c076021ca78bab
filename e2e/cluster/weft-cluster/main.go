// Command weft-cluster raises real Kubernetes clusters on this machine and takes them down: `weft-cluster --help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/weftmesh/weft/e2e/cluster"
)

func main() {
	cluster.Hidden(os.Args[1:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	var said toolError
	switch {
	case errors.As(err, &said):
		os.Exit(max(1, said.ExitCode()))
	case err != nil:
		fmt.Fprintln(os.Stderr, "weft-cluster:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := cluster.Options{Log: os.Stderr}
	root := &cobra.Command{
		Use:   "weft-cluster",
		Short: "Real Kubernetes clusters on this machine, built from Go modules",
		Long: `Raises real Kubernetes clusters on this machine and takes them down. Everything is built from Go modules,
once: minutes the first time, seconds after. Clusters with different --index (0 to 9) stand side by side.`,
		Example: `  weft-cluster up --index 1 --nodes 2
  weft-cluster load --index 1 build/images/*.tar
  weft-cluster kubectl --index 1 get pods -A
  eval "$(weft-cluster env --index 1)"       # KUBECONFIG, kubectl and helm for this shell
  weft-cluster down --index 1`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.PersistentFlags().IntVar(&o.Index, "index", 0, "which cluster, 0 to 9")
	root.PersistentFlags().StringVar(&o.Dir, "dir", "", "folder for what is built and runs (default ~/.cache/weft-e2e)")
	root.AddCommand(build(&o), up(&o), down(&o), load(&o), status(&o), kubeconfig(&o), env(&o), logs(&o), node(&o), control(&o),
		tool(&o, "kubectl", "Run kubectl as the administrator", (*cluster.Cluster).Kubectl),
		tool(&o, "helm", "Run helm as the administrator", (*cluster.Cluster).Helm))
	return root
}

func build(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "build [PROGRAM]", Short: "Build what a cluster needs, install what Debian has to give; print the path of a program",
		Long: `Builds what a cluster needs. With the name of a program (kube, kubectl, helm, containerd, …) it prints where that is.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := cluster.Build(cmd.Context(), *o, args...)
			if path != "" {
				fmt.Println(path)
			}
			return err
		}}
}

func up(o *cluster.Options) *cobra.Command {
	cmd := &cobra.Command{Use: "up", Short: "Raise a cluster and wait until it is ready", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cluster.Up(cmd.Context(), *o)
			return err
		}}
	cmd.Flags().IntVar(&o.Nodes, "nodes", 2, "number of nodes")
	cmd.Flags().StringVar(&o.ProxyMode, "proxy-mode", "nftables", "of kube-proxy: nftables or iptables")
	cmd.Flags().StringVar(&o.Family, "family", "ipv4", "of addresses: ipv4 or dual")
	cmd.Flags().StringSliceVar(&o.Images, "image", nil, "image archives to load before the nodes are ready")
	return cmd
}

func down(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "down", Short: "End everything of a cluster; also of one that came up by halves", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Down(context.WithoutCancel(cmd.Context()), *o)
		}}
}

func load(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "load IMAGE.tar ...", Short: "Load image archives (docker save, OCI) into every node", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			return c.Load(cmd.Context(), args...)
		}}
}

func status(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Tell what runs; exit code 1 if something does not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			all, down := c.Status(), 0
			for _, name := range slices.Sorted(maps.Keys(all)) {
				word := "runs"
				if !all[name] {
					word, down = "does not run", down+1
				}
				fmt.Printf("%-24s %s\n", name, word)
			}
			if down > 0 {
				return fmt.Errorf("%d of %d do not run; logs are in %s", down, len(all), c.LogDir())
			}
			return nil
		}}
}

func kubeconfig(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "kubeconfig", Short: "Print the path of the administrator's kubeconfig", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := cluster.Open(*o)
			if err == nil {
				fmt.Println(c.Kubeconfig())
			}
			return err
		}}
}

func env(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "env", Short: "Print KUBECONFIG and PATH for a shell to eval", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := cluster.Open(*o)
			if err == nil {
				fmt.Printf("export KUBECONFIG=%q PATH=%q\n", c.Kubeconfig(), filepath.Dir(c.Kubectl())+":"+filepath.Dir(c.Helm())+":"+os.Getenv("PATH"))
			}
			return err
		}}
}

func logs(o *cluster.Options) *cobra.Command {
	return &cobra.Command{Use: "logs [NAME]", Short: "Print a log (kubelet-n1, kube-apiserver, …), or list them", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := cluster.Open(*o)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				files, err := fs.Glob(os.DirFS(c.LogDir()), "*.log")
				for _, f := range files {
					fmt.Println(f[:len(f)-len(".log")])
				}
				return err
			}
			b, err := os.ReadFile(filepath.Join(c.LogDir(), args[0]+".log"))
			if err != nil {
				return err
			}
			_, err = os.Stdout.Write(b)
			return err
		}}
}
