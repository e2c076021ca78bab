package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/cluster"
	"github.com/weftmesh/weft/e2e/kube/harness"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// talker is a pod whose first container calls the moment it starts, once, and then another container goes on calling.
// The pod fails if the first call does.
const talker = `
apiVersion: v1
kind: Pod
metadata: {name: %[2]s, namespace: %[1]s, labels: {app: talker}}
spec:
  restartPolicy: %[6]s
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: %[3]s}
  tolerations: [{operator: Exists}]
  initContainers: [{name: first, image: %[4]q, command: [/bin/app, tcp, "%[5]s", "WEFT-E2E-CLEARTEXT"], resources: {requests: {cpu: 5m, memory: 16Mi}}}]
  containers: [{name: app, image: %[4]q, command: [/bin/app, load, -rate, "5", -mark, WEFT-E2E-CLEARTEXT, "tcp=%[5]s"], resources: {requests: {cpu: 5m, memory: 16Mi}}}]
`

func talk(t *testing.T, e *harness.Env, ns, name, node, server, restart string) {
	t.Helper()
	must(t, e.Apply(t.Context(), fmt.Sprintf(talker, ns, name, node, cluster.BaseImage, server, restart)))
}

// started is the set of a namespace that has a server, which takes calls of the mesh only, on another node.
func started(t *testing.T, e *harness.Env, ns, node string) (server string) {
	t.Helper()
	must(t, e.Apply(t.Context(), fmt.Sprintf(strict, ns)))
	must(t, e.Deploy(t.Context(), harness.Server{Namespace: ns, Name: "server", Replicas: 1, Node: node}))
	must(t, e.WaitCaptured(t.Context(), ns))
	return podIP(t, e, ns, "server")
}

// A pod starts only when it is captured: the very first packet of the very first container goes through the tunnel, for
// pods that start at the same time, while somebody rewrites the node's CNI configuration, and after the loss of power.
func TestStart(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns := namespace(t, e, "e2e-start", true)
	server := started(t, e, ns, second)
	wire := watch(t, e, ns)
	const pods = 10
	for i := range pods {
		talk(t, e, ns, fmt.Sprint("talker-", i), first, server+":7070", "Never")
	}
	for i := range pods {
		must(t, e.WaitReady(ctx, ns, fmt.Sprint("talker-", i)))
	}
	wire.know(t, e, ns)
	wire.judge(t)
	if e.Cluster == nil {
		t.Log("the nodes of this cluster cannot be entered: no rewriting, no loss of power")
		return
	}

	t.Run("CNI configuration rewritten", func(t *testing.T) {
		wire := watch(t, e, ns)
		for i := range 5 {
			rewrite(t, e, first)
			name := fmt.Sprint("rewritten-", i)
			talk(t, e, ns, name, first, server+":7070", "Never")
			must(t, e.WaitReady(ctx, ns, name))
		}
		wire.know(t, e, ns)
		wire.judge(t)
	})
	t.Run("loss of power", func(t *testing.T) {
		talk(t, e, ns, "survivor", first, server+":7070", "Always")
		must(t, e.WaitReady(ctx, ns, "survivor"))
		wire := watch(t, e, ns)
		must(t, e.Cluster.StopNode(ctx, first))
		must(t, e.Cluster.StartNode(ctx, first))
		must(t, harness.Poll(ctx, 2*time.Minute, "the talker to talk again", func(ctx context.Context) error {
			p, err := pod(ctx, e, ns, "survivor")
			if err != nil {
				return err
			}
			wire.member(p)
			for _, s := range p.Status.ContainerStatuses {
				if s.RestartCount > 0 && s.Ready {
					return nil
				}
			}
			return errors.New("it has not been started again")
		}))
		must(t, e.WaitInstalled(ctx))
		wire.judge(t)
	})
}

// entry is ours in a list of plugins.
var entry = regexp.MustCompile(`,\s*\{"type":"weft-cni"[^}]*\}`)

// rewrite does what an installer of the node's network does: it writes the configuration as it knows it, without us. It
// returns when we are in it again.
func rewrite(t *testing.T, e *harness.Env, node string) {
	t.Helper()
	files, err := filepath.Glob(e.Cluster.Disk(node, "etc/cni/net.d/*.conflist"))
	if err != nil || len(files) != 1 {
		t.Fatalf("configuration of %s: %v %v", node, files, err)
	}
	with, err := os.ReadFile(files[0])
	must(t, err)
	without := entry.ReplaceAll(with, nil)
	if bytes.Equal(with, without) {
		t.Fatalf("%s has no entry of ours: %s", files[0], with)
	}
	must(t, os.WriteFile(files[0], without, 0o644))
	must(t, harness.Poll(t.Context(), 20*time.Second, "our entry to be there again", func(context.Context) error {
		now, err := os.ReadFile(files[0])
		if err == nil && !bytes.Equal(now, with) {
			err = fmt.Errorf("%s", now)
		}
		return err
	}))
}

// While no agent runs on a node, pods of the mesh wait there and say why, others start.
func TestStartWithoutAgent(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns, outside := namespace(t, e, "e2e-waits", true), namespace(t, e, "e2e-starts", false)
	server := started(t, e, ns, second)
	away := func(selector string) {
		t.Helper()
		_, err := e.Kubectl(ctx, "-n", harness.SystemNamespace, "patch", "daemonset", "weft-agent", "--type=merge", "-p",
			`{"spec":{"template":{"spec":{"nodeSelector":{"e2e/none":`+selector+`}}}}}`)
		must(t, err)
	}
	away(`"yes"`)
	defer func() {
		away(`null`)
		must(t, e.WaitInstalled(ctx))
		must(t, e.WaitReady(ctx, ns, "waits"))
		must(t, e.WaitCaptured(ctx, ns))
	}()
	must(t, harness.Poll(ctx, time.Minute, "the agents to go", func(ctx context.Context) error {
		pods, err := e.SystemPods(ctx, "weft-agent")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are there", len(pods))
		}
		return err
	}))
	talk(t, e, ns, "waits", first, server+":7070", "Never")
	talk(t, e, outside, "starts", first, "127.0.0.1:1", "Never")
	must(t, harness.Poll(ctx, time.Minute, "the pod outside of the mesh to run its first container", func(ctx context.Context) error {
		p, err := pod(ctx, e, outside, "starts")
		if err == nil && p.Status.Phase != corev1.PodFailed { // nobody listens there
			err = fmt.Errorf("it is %s", p.Status.Phase)
		}
		return err
	}))
	must(t, harness.Poll(ctx, 2*time.Minute, "the event of the pod that waits", func(ctx context.Context) error {
		events, err := e.Kubectl(ctx, "-n", ns, "events", "--for=pod/waits")
		for _, want := range []string{"FailedCreatePodSandBox", "weft: pod " + ns + "/waits waits", "is enrolled", "weft-agent runs on this node"} {
			if err == nil && !strings.Contains(events, want) {
				err = fmt.Errorf("no %q in:\n%s", want, events)
			}
		}
		return err
	}))
	p, err := pod(ctx, e, ns, "waits")
	must(t, err)
	if s := p.Status.InitContainerStatuses; len(s) > 0 && s[0].State.Waiting == nil {
		t.Errorf("a container has started: %+v", s[0].State)
	}
}

// know tells the witness the pods that have come since, and judges by addresses, too.
func (w witness) know(t *testing.T, e *harness.Env, ns string) {
	t.Helper()
	pods, err := e.Pods(t.Context(), ns, "")
	must(t, err)
	for i := range pods {
		w.member(&pods[i])
	}
}

func (w witness) member(p *corev1.Pod) {
	if w.wire != nil {
		w.wire.Member(p.Status.PodIP, p.Name)
	}
}

func pod(ctx context.Context, e *harness.Env, ns, name string) (*corev1.Pod, error) {
	return e.Client.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
}
