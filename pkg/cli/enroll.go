package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/checks"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

// enrollOptions are the flags of `enroll`.
type enrollOptions struct {
	remove  bool
	wait    bool
	timeout time.Duration
	output  string
}

// enrollView is what `enroll -o json` prints.
type enrollView struct {
	checks.Tally
	Outside []string `json:"outside"` // pods that stay outside although the namespace is in, and why
	Done    bool     `json:"done"`
}

func newEnroll(e *env) *cobra.Command {
	o := &enrollOptions{}
	cmd := &cobra.Command{
		Use:   "enroll NAMESPACE",
		Short: "Put a namespace into the mesh, or take it out: label it and wait until its pods are captured",
		Long: `Sets the label weft.dev/dataplane-mode=ambient on the namespace, and waits until the traffic of its running pods is
captured. No pod is restarted; connections that are open already are cut once, so that none stays in clear text.
--remove takes the label off and waits until the pods are on the plain network again.

Exit code 0: done. 1: not all pods followed in time. 2: called wrongly.`,
		Example:           "  weftctl enroll shop\n  weftctl enroll shop --remove\n  weftctl enroll shop --wait=false",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: offer(func(cmd *cobra.Command, args []string) []string { return e.namespaces(cmd.Context(), args) }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkOutput(o.output, "json", "yaml"); err != nil {
				return err
			}
			c, err := e.kube.cluster()
			if err != nil {
				return err
			}
			return e.enroll(cmd.Context(), c, o, args[0])
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.remove, "remove", false, "take it out of the mesh")
	f.BoolVar(&o.wait, "wait", true, "wait until the pods have followed")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long to wait")
	outputFlag(cmd, &o.output)
	return cmd
}

// namespaces are those of the cluster, for completion.
func (e *env) namespaces(ctx context.Context, args []string) []string {
	c, err := e.kube.cluster()
	if err != nil || len(args) > 0 {
		return nil
	}
	l, err := c.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil
	}
	names := make([]string, len(l.Items))
	for i, n := range l.Items {
		names[i] = n.Name
	}
	return names
}

func (e *env) enroll(ctx context.Context, c *cluster.Cluster, o *enrollOptions, namespace string) error {
	if namespace == api.SystemNamespace {
		return &exitError{2, errors.New("weft-system is the mesh itself and cannot be in it")}
	}
	value, word := fmt.Sprintf("%q", api.ModeAmbient), "in the mesh"
	if o.remove {
		value, word = "null", "out of the mesh"
	}
	if !o.remove {
		if err := e.installed(ctx, c); err != nil {
			return err
		}
	}
	patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, api.LabelMode, value)
	_, err := c.Client.CoreV1().Namespaces().Patch(ctx, namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "weftctl"})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no namespace %s on %s: kubectl create namespace %[1]s, or choose another cluster (--context)", namespace, c.Name)
	}
	if err != nil {
		return c.Explain(fmt.Errorf("label namespace %s: %w", namespace, err))
	}
	view, err := e.followPods(ctx, c, o, namespace)
	if err != nil {
		return err
	}
	if o.output != "" {
		if err := e.printData(view, o.output); err != nil {
			return err
		}
	} else {
		e.printEnrolled(view, o, word)
	}
	if o.wait && !view.Done {
		return &exitError{1, fmt.Errorf("after %s some pods have not followed: %s; weftctl check says why", o.timeout, join(append(view.Pending, view.Leaving...), identityText))}
	}
	return nil
}

// installed refuses to label where no agent would act on it, which would only be a surprise later.
func (e *env) installed(ctx context.Context, c *cluster.Cluster) error {
	all, err := c.Programs(ctx)
	if err != nil {
		return err
	}
	if len(cluster.Of(cluster.Agent, all)) == 0 {
		return fmt.Errorf("no agent of Weft runs on %s, so nothing would follow: weftctl install comes first", c.Name)
	}
	return nil
}

// followPods looks until every pod has followed the label, or the time is over.
func (e *env) followPods(ctx context.Context, c *cluster.Cluster, o *enrollOptions, namespace string) (*enrollView, error) {
	start, last := time.Now(), ""
	for {
		view, err := enrolled(ctx, c, namespace)
		if err != nil {
			return nil, c.Explain(err)
		}
		text := fmt.Sprintf("%d of %d pods captured", view.Enrolled, view.Expected)
		if o.remove {
			text = fmt.Sprintf("%d pods still captured", len(view.Leaving))
		}
		if text != last && o.wait {
			fmt.Fprintf(e.stderr, "  %s (%s)\n", text, time.Since(start).Round(100*time.Millisecond))
			last = text
		}
		if view.Done || !o.wait || time.Since(start) > o.timeout {
			return view, nil
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// enrolled counts one namespace's pods.
func enrolled(ctx context.Context, c *cluster.Cluster, namespace string) (*enrollView, error) {
	ns, err := c.Client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	f := &checks.Facts{Namespaces: []*corev1.Namespace{ns}}
	view := &enrollView{Tally: checks.Tally{Namespace: namespace}, Outside: []string{}}
	for i := range pods.Items {
		p := &pods.Items[i]
		f.Pods = append(f.Pods, p)
		if wanted, why := checks.Wanted(p, ns); !wanted && ns.Labels[api.LabelMode] == api.ModeAmbient && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			view.Outside = append(view.Outside, p.Name+" "+why)
		}
	}
	if t := f.Tallies(); len(t) > 0 {
		view.Tally = t[0]
	}
	view.Done = len(view.Pending) == 0 && len(view.Leaving) == 0
	return view, nil
}

func (e *env) printEnrolled(v *enrollView, o *enrollOptions, word string) {
	switch {
	case !o.wait:
		fmt.Fprintf(e.stdout, "Namespace %s is labelled; its pods follow.\n", v.Namespace)
	case v.Done && o.remove:
		fmt.Fprintf(e.stdout, "%s Namespace %s is %s.\n", e.green("✓"), v.Namespace, word)
	case v.Done:
		fmt.Fprintf(e.stdout, "%s Namespace %s is %s: %d pods captured.\n", e.green("✓"), v.Namespace, word, v.Enrolled)
	}
	slices.Sort(v.Outside)
	for _, line := range v.Outside {
		fmt.Fprintf(e.stdout, "  outside: %s\n", line)
	}
}
