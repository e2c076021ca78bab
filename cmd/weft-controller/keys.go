package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
)

// tokenCommand makes the tokens that Kubernetes would make.
func tokenCommand() *cobra.Command {
	var o ca.MintOptions
	var create bool
	cmd := &cobra.Command{
		Use:   "token --key FILE --service-account NAMESPACE/NAME [--node NAME]",
		Short: "Make a service-account token, where there is no Kubernetes to make it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if create {
				if err := ca.CreateTokenKey(o.KeyFile); err != nil {
					return err
				}
			}
			token, err := ca.MintToken(o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.KeyFile, "key", "", "private key that signs (PEM, ECDSA P-256)")
	f.BoolVar(&create, "create-key", false, "make the key first, and its public half beside it")
	f.StringVar(&o.ServiceAccount, "service-account", "", "namespace/name that the token is for")
	f.StringVar(&o.Node, "node", "", "node that the token is bound to; a ztunnel's must name its own")
	f.StringVar(&o.Pod, "pod", "", "pod that the token is bound to")
	f.DurationVar(&o.TTL, "ttl", 24*time.Hour, "life of the token")
	_ = cmd.MarkFlagRequired("key")
	_ = cmd.MarkFlagRequired("service-account")
	return cmd
}

// caCommand looks after the root of a folder.
func caCommand() *cobra.Command {
	var dir, domain string
	cmd := &cobra.Command{Use: "ca", Short: "Make, show and rotate the mesh's root", Long: `Make, show and rotate the mesh's root.

Replacing the root without a connection lost: run "ca rotate" three times, each at
least one certificate lifetime (--cert-ttl, as the controller has it) after the one
before; it refuses to go on earlier.

  1. introduce  a new root is trusted beside the old one, which still signs
  2. promote    the new one signs; every proxy trusts it since its last renewal
  3. retire     the old one is no longer trusted; nobody has a certificate of it

A running controller notices each step within 10 s. The file that proxies get as
--root-cert must hold what root-cert.pem of the folder holds. "ca show" says where a
rotation stands. A root that was brought along is replaced by hand in the same three
steps: append the new root to root-cert.pem; a lifetime later replace ca-cert.pem and
ca-key.pem; a lifetime later take the old root out of root-cert.pem.`}
	cmd.PersistentFlags().StringVar(&dir, "ca-dir", "/var/lib/weft/ca", "folder of the root")
	cmd.PersistentFlags().StringVar(&domain, "trust-domain", identity.DefaultTrustDomain, "trust domain")
	cmd.AddCommand(&cobra.Command{
		Use: "init", Short: "Make a root where there is none", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return ca.CreateRoot(dir, domain, time.Now()) },
	}, &cobra.Command{
		Use: "show", Short: "Show the roots and where a rotation stands", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := ca.Rotation(dir)
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(state)
		},
	}, rotateCommand(&dir, &domain))
	return cmd
}

func rotateCommand(dir, domain *string) *cobra.Command {
	o := ca.RotateOptions{}
	cmd := &cobra.Command{
		Use: "rotate", Short: "Take the next step of a rotation: introduce, promote, retire", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dir, o.TrustDomain = *dir, *domain
			state, err := ca.Rotate(o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "rotation:", state.Phase)
			return err
		},
	}
	cmd.Flags().DurationVar(&o.LeafTTL, "cert-ttl", ca.DefaultTTL, "life of leaves; each step waits for as long")
	cmd.Flags().BoolVar(&o.Force, "force", false, "do not wait: proxies that have not renewed lose their peers")
	return cmd
}
