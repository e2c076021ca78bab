package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/enroll"
)

const lackYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Namespace
metadata: {name: plain}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: plain}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop}
spec: {nodeName: n1, containers: [{name: app, image: app}]}
status: {phase: Running, podIP: 10.1.0.9, podIPs: [{ip: 10.1.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: tool, namespace: plain}
spec: {nodeName: n1, containers: [{name: app, image: app}]}
`

// On a kernel that cannot do it, pods are told of, and do not start in the clear.
func TestKernelThatLacks(t *testing.T) {
	privileged(t)
	s := kubetest.Start(t)
	s.Apply(lackYAML)
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	pages := l.Addr().String()
	must(t, l.Close())
	a := &agent{log: zaptest.NewLogger(t), metrics: prometheus.NewRegistry(), c: config{node: "n1", sources: []string{sourceKubernetes},
		kubeconfig: s.Kubeconfig(), cniSocket: filepath.Join(dir, "cni.sock"), metrics: pages}}
	_, err = a.read()
	must(t, err)
	why := bpf.Lacking([]bpf.Feature{{Name: "tcx", Required: true, Need: "6.6", Why: "guard pods", Err: context.DeadlineExceeded}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.lack(ctx, why) }()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	<-a.watch.known
	eventually(t, "an event on the pod", func() bool {
		events, err := a.client.CoreV1().Events("shop").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=cart"})
		must(t, err)
		for _, e := range events.Items {
			if e.Reason == enroll.ReasonNotEnrolled && e.Type == "Warning" && strings.Contains(e.Message, "tcx (Linux 6.6") && strings.Contains(e.Message, "another node") {
				return true
			}
		}
		return false
	})
	eventually(t, "never ready", func() bool {
		resp, err := http.Get("http://" + pages + "/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	starting := func(namespace, name string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return a.starter.Add(ctx, cni.Pod{Namespace: namespace, Name: name, Netns: "/proc/self/ns/net", ContainerID: name,
			Addresses: []netip.Addr{netip.MustParseAddr("10.1.0.9")}})
	}
	if err := starting("shop", "cart"); err == nil || !strings.Contains(err.Error(), "tcx (Linux 6.6") {
		t.Errorf("a pod of the mesh starts: %v", err)
	}
	if err := starting("plain", "tool"); err != nil {
		t.Errorf("a pod outside of the mesh: %v", err)
	}
}
