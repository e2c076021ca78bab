package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/e2e/cluster"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// SystemNamespace is where Weft is installed.
const SystemNamespace = "weft-system"

// Env is a cluster to test on.
type Env struct {
	Client     kubernetes.Interface
	Kubeconfig string
	// Cluster is nil on a cluster that weft-cluster did not raise: its nodes cannot be entered.
	Cluster *cluster.Cluster
	// Out is the folder for tables and evidence.
	Out string
}

// ErrNoCluster tells that E2E_CLUSTER is not set.
var ErrNoCluster = errors.New("no cluster: `make e2e` raises one, E2E_CLUSTER=existing takes the current kubeconfig")

// Open finds the cluster that E2E_CLUSTER names.
func Open() (*Env, error) {
	e := &Env{Out: os.Getenv("E2E_OUT")}
	if e.Out == "" {
		e.Out = filepath.Join(Root(), "build", "e2e")
	}
	switch which := os.Getenv("E2E_CLUSTER"); which {
	case "":
		return nil, ErrNoCluster
	case "existing":
		e.Kubeconfig = clientcmd.NewDefaultClientConfigLoadingRules().GetDefaultFilename()
	default:
		index, err := strconv.Atoi(which)
		if err != nil {
			return nil, fmt.Errorf("E2E_CLUSTER=%s: want the index of a cluster (weft-cluster up --index), or existing", which)
		}
		if e.Cluster, err = cluster.Open(cluster.Options{Index: index}); err != nil {
			return nil, err
		}
		e.Kubeconfig = e.Cluster.Kubeconfig()
	}
	config, err := clientcmd.BuildConfigFromFlags("", e.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", e.Kubeconfig, err)
	}
	config.QPS, config.Burst = 100, 200
	if e.Client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	return e, os.MkdirAll(e.Out, 0o755)
}

// Root is the folder of the checkout.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Kubectl runs kubectl and gives what it printed.
func (e *Env) Kubectl(ctx context.Context, args ...string) (string, error) {
	return e.tool(ctx, "kubectl", nil, args...)
}

// Helm runs helm and gives what it printed.
func (e *Env) Helm(ctx context.Context, args ...string) (string, error) {
	return e.tool(ctx, "helm", nil, args...)
}

// Apply applies manifests as a person does.
func (e *Env) Apply(ctx context.Context, manifests string) error {
	_, err := e.tool(ctx, "kubectl", []byte(manifests), "apply", "--server-side", "-f", "-")
	return err
}

func (e *Env) tool(ctx context.Context, name string, stdin []byte, args ...string) (string, error) {
	file := name
	if e.Cluster != nil {
		file = map[string]string{"kubectl": e.Cluster.Kubectl(), "helm": e.Cluster.Helm()}[name]
	}
	cmd := exec.CommandContext(ctx, file, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig)
	cmd.Stdin = bytes.NewReader(stdin)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(problem.String()))
	}
	return out.String(), nil
}

// Poll calls a condition until it gives no error or the time is over; the error names what was waited for.
func Poll(ctx context.Context, limit time.Duration, what string, condition func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // that of a call that the deadline cut off says less
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s: %w", limit, what, last)
		case <-tick.C:
		}
	}
}
