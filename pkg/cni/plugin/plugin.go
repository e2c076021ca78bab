package plugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cniversion "github.com/containernetworking/cni/pkg/version"

	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/direct"
)

const (
	retryEvery = 200 * time.Millisecond
	delTimeout = 3 * time.Second
	// patience is how long pods that could start without an agent wait for one: it may just be restarting, and pods of
	// a plain namespace can be enrolled by a label of their own, which only the agent sees.
	patience = 3 * time.Second
)

// Main is one execution of the plugin, by environment, standard input and output; about is for a person who starts
// it by hand. It returns the exit code.
func Main(about string) int {
	funcs := skel.CNIFuncs{Add: add, Del: del, Check: check, GC: nothing, Status: nothing}
	err := protect(func() *types.Error {
		return skel.PluginMainFuncsWithError(funcs, cniversion.All, about)
	})
	switch {
	case err == nil:
		return 0
	case os.Getenv("CNI_COMMAND") == "DEL":
		// Even if its arguments make no sense: a pod that cannot be deleted blocks its node.
		fmt.Fprintln(os.Stderr, "weft-cni: DEL goes on in spite of:", err)
		return 0
	}
	if perr := err.Print(); perr != nil {
		fmt.Fprintln(os.Stderr, "weft-cni:", err, perr)
	}
	return 1
}

// protect makes an error of a panic: the runtime shows nothing of a stack.
func protect(f func() *types.Error) (err *types.Error) {
	defer func() {
		if p := recover(); p != nil {
			err = types.NewError(types.ErrInternal, fmt.Sprintf("weft: the plugin broke down: %v", p), "please report this")
		}
	}()
	return f()
}

func nothing(*skel.CmdArgs) error { return nil }

func add(args *skel.CmdArgs) error {
	c, err := parse(args, true)
	if err != nil {
		return err
	}
	c.forget()
	if err := c.ask("ADD", cni.Client.Add); err != nil {
		return err
	}
	_, err = os.Stdout.Write(c.prev)
	return err
}

func check(args *skel.CmdArgs) error {
	c, err := parse(args, true)
	if err != nil {
		return err
	}
	return c.ask("CHECK", cni.Client.Check)
}

func del(args *skel.CmdArgs) error {
	c, err := parse(args, false)
	if err == nil {
		c.forget()
	}
	if err != nil || !c.ours() {
		return nil //nolint:nilerr // whatever it is, the pod may go
	}
	ctx, cancel := context.WithTimeout(context.Background(), delTimeout)
	defer cancel()
	began := time.Now()
	// Where the agent is away, it learns from the cluster that the pod is gone.
	c.note("DEL", began, "", cni.Client{Path: c.Socket}.Del(ctx, c.pod))
	return nil
}

// forget takes the pod's addresses off the direct path of the node, whoever the pod is and whether an agent lives.
// An agent that is asked afterwards does it again, so only pods that start without one depend on it.
func (c *call) forget() {
	if c.Pins == "" || len(c.took) == 0 {
		return
	}
	if c.stale = direct.Forget(c.Pins, c.took); c.stale != nil {
		c.note("FORGET", time.Now(), "addresses may still be another pod's for the direct path", c.stale)
	}
}

// ours tells that the agent has to be asked about the pod.
func (c *call) ours() bool {
	return c.pod.Name != "" && c.pod.Namespace != "" && !slices.Contains(c.Exempt, c.pod.Namespace)
}

// ask asks the agent until it answers, time is up, or the pod may go without.
func (c *call) ask(command string, f func(cni.Client, context.Context, cni.Pod) error) error {
	if !c.ours() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout())
	defer cancel()
	began := time.Now()
	var last error
	for {
		err := f(cni.Client{Path: c.Socket}, ctx, c.pod)
		if errors.Is(err, cni.ErrAway) && errors.Is(err, context.DeadlineExceeded) && last != nil {
			err = last // says more than that time is up
		}
		last = err
		if err == nil {
			c.note(command, began, "done", nil)
			return nil
		}
		var why string
		if errors.Is(err, cni.ErrAway) || errors.Is(err, cni.ErrSlow) {
			var wait bool
			why, wait = c.alone()
			if errors.Is(err, cni.ErrAway) && (wait || time.Since(began) < patience) && sleep(ctx, retryEvery) {
				continue
			}
			if !wait {
				c.note(command, began, "let pass: "+why, err)
				return nil
			}
		}
		c.note(command, began, "refused: "+why, err)
		return refusal(c.pod, why, time.Since(began), err)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// alone decides without the agent.
func (c *call) alone() (why string, wait bool) {
	if c.stale != nil {
		return fmt.Sprintf("and its addresses may still be taken for another pod's (%v)", c.stale), true
	}
	s, err := cni.ReadState(cni.StatePath(c.Socket))
	if err != nil {
		return fmt.Sprintf("and whether namespace %s is enrolled is not known (%v)", c.pod.Namespace, err), true
	}
	switch m := s.Namespaces[c.pod.Namespace]; m {
	case cni.Plain:
		return "namespace " + c.pod.Namespace + " is not enrolled", false
	case cni.Enrolled:
		return "and namespace " + c.pod.Namespace + " is enrolled, so that the pod would run outside the mesh", true
	case cni.Mixed:
		return "and pods of namespace " + c.pod.Namespace + " are enrolled by labels of their own", true
	default:
		return "and whether namespace " + c.pod.Namespace + " is enrolled is not known yet", true
	}
}

// refusal is what a person reads in the pod's events.
func refusal(p cni.Pod, why string, took time.Duration, err error) error {
	took = took.Round(100 * time.Millisecond)
	if why != "" {
		return types.NewError(types.ErrTryAgainLater,
			fmt.Sprintf("weft: pod %s waits: for %s this node's weft-agent has not answered, %s", p.Key(), took, why),
			fmt.Sprintf("%v. It is tried again by itself; see that weft-agent runs on this node: kubectl -n weft-system get pods -o wide. "+
				"Where Weft was removed: weft-agent cleanup, or delete the entry %q from the node's CNI configuration", err, cni.PluginName))
	}
	return types.NewError(types.ErrTryAgainLater, fmt.Sprintf("weft: pod %s is not captured after %s: %v", p.Key(), took, err),
		"It is tried again by itself; see weftctl check, and the log of weft-agent on this node")
}
