package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// rootOptions are the flags of `root` and its commands.
type rootOptions struct {
	secret string
	force  bool
	output string
}

// rootView is what `root show -o json` prints.
type rootView struct {
	Phase ca.Phase   `json:"phase"` // of a rotation; none: there is no rotation
	Since time.Time  `json:"since,omitzero"`
	Next  string     `json:"next"`
	Roots []rootCert `json:"roots"` // that the mesh trusts
}

type rootCert struct {
	Subject  string    `json:"subject"`
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"notAfter"`
}

// nextStep says what `root rotate` does.
var nextStep = map[ca.Phase]string{
	ca.PhaseNone:       "introduce a new root, trusted beside the one that signs",
	ca.PhaseIntroduced: "let the new root sign",
	ca.PhasePromoted:   "no longer trust the old root",
}

func newRootCA(e *env) *cobra.Command {
	o := &rootOptions{}
	cmd := &cobra.Command{
		Use:     "root",
		Short:   "Show and rotate the root of the mesh's certificates",
		Long:    "Looks after the Secret weft-ca of weft-system. A root that others look after, as cert-manager, is rotated there.",
		Example: "  weftctl root show\n  weftctl root rotate",
	}
	cmd.PersistentFlags().StringVar(&o.secret, "secret", "weft-ca", "Secret with the root, in weft-system")
	show := &cobra.Command{
		Use: "show", Short: "Show the roots, and where a rotation stands", Example: "  weftctl root show\n  weftctl root show -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withRoot(cmd.Context(), o, func(_ *cluster.Cluster, s *corev1.Secret, dir string) error { return e.showRoot(o, s, dir) })
		},
	}
	outputFlag(show, &o.output)
	rotate := &cobra.Command{
		Use: "rotate", Short: "Take the next of three steps: introduce, sign with the new root, forget the old one",
		Long: `Replaces the root without a connection lost, in three calls. Between two of them every proxy has to renew its certificate,
and so learns the roots: one certificate lifetime (the chart's ca.certTTL, 24 h) must pass, or the call is refused.

Exit code 0: the step is taken. 1: it is too early, or failed. 2: called wrongly.`,
		Example: "  weftctl root rotate", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withRoot(cmd.Context(), o, func(c *cluster.Cluster, s *corev1.Secret, dir string) error {
				return e.rotateRoot(cmd.Context(), o, c, s, dir)
			})
		},
	}
	rotate.Flags().BoolVar(&o.force, "force", false, "do not wait: proxies that have not renewed lose their peers")
	cmd.AddCommand(show, rotate)
	return cmd
}

// withRoot puts the Secret into a folder that only we can read, as long as do runs.
func (e *env) withRoot(ctx context.Context, o *rootOptions, do func(*cluster.Cluster, *corev1.Secret, string) error) error {
	if err := checkOutput(o.output, "json", "yaml"); err != nil {
		return err
	}
	c, err := e.kube.cluster()
	if err != nil {
		return err
	}
	secret, err := c.Client.CoreV1().Secrets(api.SystemNamespace).Get(ctx, o.secret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no Secret %s in %s of %s: the controller makes it when it starts (weftctl status)", o.secret, api.SystemNamespace, c.Name)
	}
	if err != nil {
		return c.Explain(fmt.Errorf("read the root: %w", err))
	}
	if len(secret.Data[ca.FileCert]) == 0 {
		return fmt.Errorf("secret %s/%s holds no %s: somebody else looks after this root (cert-manager?), so rotate it there", api.SystemNamespace, o.secret, ca.FileCert)
	}
	dir, err := os.MkdirTemp("", "weftctl-root-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, data := range secret.Data {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), data, 0o600); err != nil {
			return err
		}
	}
	return do(c, secret, dir)
}

func (e *env) showRoot(o *rootOptions, s *corev1.Secret, dir string) error {
	state, err := ca.Rotation(dir)
	if err != nil {
		return err
	}
	certs, err := ca.ParseCertificates(s.Data[ca.FileRoots])
	if err != nil {
		return fmt.Errorf("read the roots: %w", err)
	}
	v := rootView{Phase: state.Phase, Since: state.Since, Next: nextStep[state.Phase]}
	for _, c := range certs {
		v.Roots = append(v.Roots, rootCert{c.Subject.String(), c.SerialNumber.Text(16), c.NotAfter.UTC()})
	}
	if o.output != "" {
		return e.printData(v, o.output)
	}
	t := newTable("ROOT", "SERIAL", "VALID UNTIL")
	for _, r := range v.Roots {
		t.row(r.Subject, r.Serial, r.NotAfter.Format(time.DateOnly))
	}
	t.print(e.stdout)
	if v.Phase == ca.PhaseNone {
		fmt.Fprintln(e.stdout, "\nNo rotation is under way.")
		return nil
	}
	fmt.Fprintf(e.stdout, "\nRotation: %s since %s; the next step is to %s.\n", v.Phase, v.Since.UTC().Format(time.RFC3339), v.Next)
	return nil
}

func (e *env) rotateRoot(ctx context.Context, o *rootOptions, c *cluster.Cluster, s *corev1.Secret, dir string) error {
	ro := ca.RotateOptions{Dir: dir, Force: o.force}
	if err := likeController(ctx, c, &ro); err != nil {
		return err
	}
	before, err := ca.Rotation(dir)
	if err != nil {
		return err
	}
	state, err := ca.Rotate(ro)
	if err != nil {
		return fmt.Errorf("rotate the root: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	s.Data = map[string][]byte{}
	for _, f := range entries {
		if s.Data[f.Name()], err = os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	// The version that was read goes with it: two people who rotate at once take one step, not two.
	if _, err := c.Client.CoreV1().Secrets(api.SystemNamespace).Update(ctx, s, metav1.UpdateOptions{FieldManager: "weftctl"}); err != nil {
		return c.Explain(fmt.Errorf("write the root: %w", err))
	}
	fmt.Fprintf(e.stdout, "%s Done: %s.\n", e.green("✓"), nextStep[before.Phase])
	if state.Phase != ca.PhaseNone {
		fmt.Fprintf(e.stdout, "%s", e.asCalled(fmt.Sprintf("Next, after %s: weftctl root rotate, which will %s.\n", state.Since.Add(ro.LeafTTL).UTC().Format(time.RFC3339), nextStep[state.Phase])))
	}
	return nil
}

// likeController takes the lifetime of certificates and the trust domain from the controller's flags.
func likeController(ctx context.Context, c *cluster.Cluster, o *ca.RotateOptions) error {
	d, err := c.Client.AppsV1().Deployments(api.SystemNamespace).Get(ctx, cluster.Controller, metav1.GetOptions{})
	if err != nil {
		return c.Explain(fmt.Errorf("read how the controller is started: %w", err))
	}
	o.LeafTTL = ca.DefaultTTL
	for _, container := range d.Spec.Template.Spec.Containers {
		for _, arg := range slices.Concat(container.Command, container.Args) {
			if domain, ok := strings.CutPrefix(arg, "--trust-domain="); ok {
				o.TrustDomain = domain
			}
			if ttl, ok := strings.CutPrefix(arg, "--cert-ttl="); ok {
				if o.LeafTTL, err = time.ParseDuration(ttl); err != nil {
					return fmt.Errorf("the controller's %s: %w", arg, err)
				}
			}
		}
	}
	return nil
}
