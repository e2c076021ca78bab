package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/cluster"
	"github.com/weftmesh/weft/e2e/kube/harness"
)

// env is the cluster with Weft installed; nil if there is none.
var env *harness.Env

func TestMain(m *testing.M) {
	cluster.Hidden(os.Args[1:]) // a node that a test starts again begins in this binary
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx := context.Background()
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() { // who raised the cluster takes it down
		<-interrupt
		os.Exit(130)
	}()
	e, err := harness.Open()
	if errors.Is(err, harness.ErrNoCluster) {
		return m.Run() // every test skips and says so
	}
	if err == nil {
		err = prepare(ctx, e)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the suite cannot begin:", err)
		if e != nil && e.Client != nil {
			fmt.Fprintln(os.Stderr, "evidence is in", e.KeepEvidence("install"))
		}
		return 1
	}
	env = e
	return m.Run()
}

// prepare installs Weft, unless E2E_INSTALL=no says that it is there.
func prepare(ctx context.Context, e *harness.Env) error {
	if os.Getenv("E2E_INSTALL") == "no" {
		return nil
	}
	began := time.Now()
	if err := e.InstallGatewayAPI(ctx, "standard"); err != nil {
		return err
	}
	if err := e.Install(ctx, "--set", "ztunnel.drainSeconds=10"); err != nil {
		return fmt.Errorf("installing the chart: %w", err)
	}
	fmt.Printf("Weft is installed and ready after %.1f s\n", time.Since(began).Seconds())
	return nil
}

// on gives the cluster, and keeps evidence if the test fails.
func on(t *testing.T) *harness.Env {
	t.Helper()
	if env == nil {
		t.Skip(harness.ErrNoCluster)
	}
	t.Cleanup(func() { keepEvidence(t) })
	return env
}

// kept are the tests whose evidence is there.
var kept sync.Map

// keepEvidence keeps that of a test that failed, once: before its namespaces go.
func keepEvidence(t *testing.T) {
	if !t.Failed() {
		return
	}
	if _, before := kept.LoadOrStore(t.Name(), true); !before {
		t.Log("evidence is in", env.KeepEvidence(t.Name()))
	}
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace is one of the test's own, removed after it.
func namespace(t *testing.T, e *harness.Env, name string, enrolled bool) string {
	t.Helper()
	remove, err := e.Namespace(t.Context(), name, enrolled)
	must(t, err)
	t.Cleanup(func() {
		keepEvidence(t)
		remove()
	})
	return name
}

// twoNodes gives the names of two nodes, or skips.
func twoNodes(t *testing.T, e *harness.Env) (string, string) {
	t.Helper()
	nodes, err := e.NodeNames(t.Context())
	must(t, err)
	if len(nodes) < 2 {
		t.Skipf("needs two nodes, the cluster has %v", nodes)
	}
	return nodes[0], nodes[1]
}
