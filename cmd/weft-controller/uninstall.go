package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller/uninstall"
	"github.com/weftmesh/weft/pkg/source/kube"
)

// uninstallCommand is what the chart runs before Helm removes it.
func uninstallCommand() *cobra.Command {
	var kubeconfig, namespace, logFormat string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Weft out of the cluster while pods go on talking; helm uninstall runs it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logger("info", logFormat)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			config, err := kube.Config(kubeconfig, "weft-controller")
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			if err := uninstall.Run(ctx, uninstall.Options{Config: config, Namespace: namespace, Logger: log}); err != nil {
				return fmt.Errorf("uninstall: %w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the cluster (default: as a pod of it, else $KUBECONFIG)")
	f.StringVar(&namespace, "namespace", api.SystemNamespace, "namespace that Weft is installed in")
	f.DurationVar(&timeout, "timeout", 4*time.Minute, "how long agents and controllers may take to end")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	return cmd
}
