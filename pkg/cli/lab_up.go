package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/pkg/lab"
)

func newLabUp(e *env, name *string) *cobra.Command {
	c := &lab.Config{}
	var timeout time.Duration
	var foreground bool
	cmd := &cobra.Command{
		Use:     "up -f DIR",
		Short:   "Raise a lab from a folder of manifests",
		Example: "  weftctl lab up -f examples/shop\n  weftctl lab up --name mine -f DIR --nodes 3 --cert-ttl 10m",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Name = *name
			return e.labUp(cmd.Context(), c, foreground, timeout)
		},
	}
	f := cmd.Flags()
	f.StringSliceVarP(&c.Manifests, "filename", "f", nil, "folder of manifests, watched for changes (repeatable)")
	f.IntVar(&c.Nodes, "nodes", 2, "simulated nodes")
	f.StringVar(&c.BinDir, "bin", "", "folder of the mesh's programs (default: where weftctl is)")
	f.StringToStringVar(&c.Images, "image", nil, "program for an image: IMAGE=/path/to/program (repeatable)")
	f.StringVar(&c.Envoy, "envoy", "", "Envoy for waypoints (default: $WEFT_ENVOY, envoy in PATH, or what make envoy installed)")
	f.BoolVar(&c.NoMesh, "no-mesh", false, "only nodes, pods and services")
	f.DurationVar(&c.CertTTL, "cert-ttl", 0, "lifetime of workload certificates (default 24h)")
	f.StringVar(&c.TunnelTLS, "tunnel-tls", os.Getenv("WEFT_TUNNEL_TLS"), "what drives ztunnels' tunnels: stdlib or records (default $WEFT_TUNNEL_TLS, or weft-ztunnel's own default)")
	f.StringVar(&c.SameNodeHandOver, "same-node-hand-over", "", "how agents move packets of direct connections between pods of a node: never, forwarded; always, from interface to interface (default: weft-agent's own)")
	f.BoolVar(&c.Debug, "debug", false, "log of the mesh's programs at debug level")
	f.BoolVar(&foreground, "foreground", false, "stay, and take the lab down on Ctrl-C")
	f.DurationVar(&timeout, "timeout", time.Minute, "how long everything may take to be ready")
	_ = cmd.MarkFlagRequired("filename")
	return cmd
}

func (e *env) labUp(ctx context.Context, c *lab.Config, foreground bool, timeout time.Duration) error {
	if foreground { // the lab goes with this process, however that dies
		id, err := lab.OwnID()
		if err != nil {
			return err
		}
		c.Owner = id
	}
	if err := startLab(ctx, c, nil); err != nil {
		return err
	}
	began := time.Now()
	if err := awaitLab(ctx, c, timeout); err != nil {
		return errors.Join(err, lab.Down(c.Layout))
	}
	fmt.Fprintf(e.stdout, "Lab %s is up after %.1f s.\n", c.Name, time.Since(began).Seconds())
	if err := e.labStatus(ctx, c.Name, ""); err != nil {
		return err
	}
	flag := ""
	if c.Name != defaultLab {
		flag = " --name " + c.Name
	}
	if foreground {
		fmt.Fprintln(e.stdout, "\nCtrl-C takes it down.")
		<-ctx.Done()
		return lab.Down(c.Layout)
	}
	fmt.Fprintf(e.stdout, "\nNext: weftctl lab exec%[1]s POD -- COMMAND, weftctl lab logs%[1]s POD, weftctl lab down%[1]s\n", flag)
	return nil
}

// startLab checks what can be checked, clears what an earlier lab of this name left, has prepare (which may be
// nil) put files into its state directory, and starts the supervisor as a process of its own session. When it
// fails, nothing is left behind, and another lab of that name that is up is not touched.
func startLab(ctx context.Context, c *lab.Config, prepare func() error) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a lab makes network namespaces, cgroups and loads eBPF: run as root (sudo weftctl lab up …)")
	}
	if err := c.Validate(); err != nil {
		return err
	}
	if st, err := c.ReadState(); err == nil && st.Supervisor.Alive() && !orphaned(c.Name) {
		return fmt.Errorf("lab %s is already up: take it down with `weftctl lab down --name %[1]s`, or choose another --name", c.Name)
	}
	if err := lab.Down(c.Layout); err != nil { // leftovers of one that was killed
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lab.Down(c.Layout))
		}
	}()
	if prepare != nil {
		if err := errors.Join(c.Save(), prepare()); err != nil { // saved first, so that `lab down --all` knows of it
			return err
		}
	}
	if err := errors.Join(c.Complete(), ctx.Err()); err != nil {
		return err
	}
	if err := c.Save(); err != nil {
		return err
	}
	return startSupervisor(c)
}

// orphaned reports whether the process that a lab lives for is gone: the lab is about to go too.
func orphaned(name string) bool {
	c, err := lab.Load(name)
	return err == nil && c.Owner.PID != 0 && !c.Owner.Alive()
}

func startSupervisor(c *lab.Config) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.Path("supervisor.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(self, "lab", "supervise", "--name", c.Name)
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.Dir = lab.BaseEnv(), log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the lab's supervisor: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// awaitLab waits until everything is ready.
func awaitLab(ctx context.Context, c *lab.Config, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not everything is ready after %s", timeout))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	started := false
	for {
		st, err := c.ReadState()
		switch {
		case err == nil && st.Phase == lab.Ready:
			return nil
		case err == nil && started && !st.Supervisor.Alive():
			return fmt.Errorf("the lab's supervisor ended: %s", lastLines(c.Path("supervisor.log"), 5))
		case err == nil && st.Supervisor.Alive():
			started = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("lab %s: %w; waiting for: %s\n%s", c.Name, context.Cause(ctx), strings.Join(st.Waiting, ", "), troubles(c, st))
		}
	}
}

// troubles collects what the programs that keep ending said last.
func troubles(c *lab.Config, st *lab.State) string {
	var b strings.Builder
	for _, name := range st.ProgramNames() {
		if p := st.Programs[name]; p.Restarts > 0 || !p.Alive() {
			fmt.Fprintf(&b, "%s restarted %d times, last exit: %s\n%s\n", name, p.Restarts, p.LastExit, lastLines(c.LogFile(name), 5))
		}
	}
	return b.String()
}

func lastLines(path string, n int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
