package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
)

// demoStep is one part of the story: what it changes, and how that is proved.
type demoStep struct {
	title string
	// files is the folder below examples/steps whose manifests are copied over the shop's; "" changes nothing.
	files string
	// settled waits until the change is in force. Later steps need it, so it also runs when a step is skipped.
	settled func(*story, context.Context) error
	// check proves the step and prints its evidence.
	check func(*story, context.Context) error
}

func demoSteps() []demoStep {
	return []demoStep{
		{"Not enrolled: a request crosses the link between the nodes in clear text", "", nil, (*story).checkPlain},
		{"One label on the namespace: the same processes now talk through mutual TLS", "2-enrol", (*story).awaitEnrolled, (*story).checkEncrypted},
		{"An AuthorizationPolicy: only the cart may call payments", "3-policy", (*story).awaitPolicy, (*story).checkPolicy},
		{"PeerAuthentication STRICT: no plaintext from outside, yet probes pass", "4-strict", (*story).awaitStrict, (*story).checkStrict},
		{"A waypoint and an HTTPRoute: nine of ten to v1, testers to v2", "5-waypoint", (*story).awaitRoute, (*story).checkRoute},
		{"A Fault: 30 % aborted with 503, others delayed by 200 ms", "6-fault", (*story).awaitFault, (*story).checkFault},
		{"A ztunnel is killed under load: nothing leaks, and it comes back", "", nil, (*story).checkKill},
		{"Who talked to whom, from the metrics just made", "", nil, (*story).checkMetrics},
	}
}

// waypointStep is the first step that needs an Envoy.
const waypointStep = 5

func newDemo(e *env) *cobra.Command {
	var step int
	var keep bool
	c := &lab.Config{Layout: lab.Layout{Name: "demo", Nodes: 2}}
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Raise a mesh on this machine and tell what it does in eight checked steps (root)",
		Example: "  weftctl demo\n  weftctl demo --step 5 --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if step < 0 || step > len(demoSteps()) {
				return &exitError{2, fmt.Errorf("--step %d: there are steps 1 to %d", step, len(demoSteps()))}
			}
			return e.demo(cmd.Context(), c, step, keep)
		},
	}
	f := cmd.Flags()
	f.IntVar(&step, "step", 0, "show only this step; what it needs of the earlier ones is applied unseen")
	f.BoolVar(&keep, "keep", false, "leave the lab up at the end")
	f.StringVar(&c.Name, "name", c.Name, "name of the lab")
	f.StringVar(&c.Envoy, "envoy", "", "Envoy for waypoints (default: $WEFT_ENVOY, envoy in PATH, or what make envoy installed)")
	f.BoolVar(&c.Debug, "debug", false, "log of the mesh's programs at debug level")
	return cmd
}

// demo raises the lab, tells the steps and takes the lab away again, whatever happened.
func (e *env) demo(ctx context.Context, c *lab.Config, only int, keep bool) (err error) {
	s := newStory(e, c)
	c.NeedEnvoy = only == 0 || only >= waypointStep
	defer func() {
		if !s.up {
			return
		}
		if keep && err == nil {
			s.sayHowToGoOn()
			return
		}
		if err != nil && ctx.Err() == nil {
			s.saveLogs()
		}
		err = errors.Join(err, lab.Down(c.Layout))
		if left := lab.Leftovers(c.Layout); len(left) > 0 {
			err = errors.Join(err, fmt.Errorf("left behind: %v", left))
		}
		fmt.Fprintf(e.stdout, "\nEverything is taken down again (%.1f s in all).\n", time.Since(s.began).Seconds())
	}()
	if err := s.raise(ctx, keep); err != nil {
		return err
	}
	for i, step := range demoSteps() {
		if err := s.tell(ctx, i+1, step, only == 0 || only == i+1); err != nil {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		if only == i+1 {
			return nil
		}
	}
	s.sayMore()
	return nil
}
