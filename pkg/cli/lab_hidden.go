package cli

import (
	"errors"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/pkg/lab"
)

// The commands here are how a lab's own processes are started; nobody types them.

func hiddenLog(e *env) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.AddSync(e.stderr), zap.InfoLevel))
}

func newLabSupervise(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "supervise", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			return lab.Supervise(cmd.Context(), c, hiddenLog(e))
		},
	}
}

func newLabKubelet(e *env, name *string) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use: "kubelet", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			return lab.RunKubelet(cmd.Context(), lab.KubeletOptions{
				Layout: c.Layout, Node: node, Images: c.Images, BinDir: c.BinDir, Envoy: c.Envoy, Self: self, Log: hiddenLog(e),
			})
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the node")
	return cmd
}

func newLabNodeProxy(e *env, name *string) *cobra.Command {
	return &cobra.Command{
		Use: "node-proxy", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := lab.Load(*name)
			if err != nil {
				return err
			}
			return lab.RunNodeProxy(cmd.Context(), lab.NodeProxyOptions{Layout: c.Layout, Log: hiddenLog(e)})
		},
	}
}

func newLabPodInit() *cobra.Command {
	return &cobra.Command{
		Use: "pod-init FILE -- COMMAND", Hidden: true, Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			err := lab.PodInit(args[0], args[1:])
			if errors.Is(err, lab.ErrNoCommand) {
				return &exitError{127, err}
			}
			return err
		},
	}
}
