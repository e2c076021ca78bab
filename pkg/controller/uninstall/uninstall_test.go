package uninstall

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/kubetest"
)

const installed = `
apiVersion: v1
kind: Namespace
metadata: {name: weft-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {taints: [{key: weft.dev/agent-not-ready, effect: NoSchedule}, {key: theirs, effect: NoSchedule}]}
status: {conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Node
metadata: {name: dead}
spec: {taints: [{key: weft.dev/agent-not-ready, effect: NoSchedule}]}
status: {conditions: [{type: Ready, status: "Unknown"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: weft-agent, namespace: weft-system}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: weft-agent}}
  template:
    metadata: {labels: {app.kubernetes.io/name: weft-agent}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: weft-controller, namespace: weft-system}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: weft-controller}}
  template:
    metadata: {labels: {app.kubernetes.io/name: weft-controller}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent-n1, namespace: weft-system, labels: {app.kubernetes.io/name: weft-agent}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent-dead, namespace: weft-system, labels: {app.kubernetes.io/name: weft-agent}}
spec: {nodeName: dead, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata: {name: controller, namespace: weft-system, labels: {app.kubernetes.io/name: weft-controller}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: uninstall
  namespace: weft-system
  labels: {app.kubernetes.io/name: weft-controller}
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: weft-uninstall, uid: "1"}]
spec: {nodeName: n1, containers: [{name: c, image: i}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: weft-controller, namespace: weft-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: wp, namespace: shop, labels: {app.kubernetes.io/managed-by: weft, gateway.networking.k8s.io/gateway-name: wp}}
spec:
  selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: wp}}
  template:
    metadata: {labels: {gateway.networking.k8s.io/gateway-name: wp}}
    spec: {containers: [{name: c, image: i}]}
---
apiVersion: v1
kind: Service
metadata: {name: wp, namespace: shop, labels: {app.kubernetes.io/managed-by: weft, gateway.networking.k8s.io/gateway-name: wp}}
spec: {ports: [{port: 15008}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: wp, namespace: shop, labels: {app.kubernetes.io/managed-by: weft, gateway.networking.k8s.io/gateway-name: wp}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: wp, namespace: shop, labels: {app.kubernetes.io/managed-by: weft, gateway.networking.k8s.io/gateway-name: wp}}
spec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: wp}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: wp, namespace: shop, labels: {app.kubernetes.io/managed-by: weft, gateway.networking.k8s.io/gateway-name: wp}}
spec: {maxUnavailable: 1}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: weft-root, namespace: shop, labels: {app.kubernetes.io/managed-by: weft}}
---
apiVersion: v1
kind: Service
metadata: {name: theirs, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: wp}}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: theirs, namespace: shop, labels: {app.kubernetes.io/managed-by: weft}}
---
apiVersion: v1
kind: Secret
metadata: {name: weft-ca, namespace: weft-system}
`

func object(apiVersion, kind, namespace, name string) string {
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: " + namespace + "}\n"
}

// Controllers stay until the agents have ended, what they made until they have; what others made stays.
func TestOrder(t *testing.T) {
	s := kubetest.Start(t)
	s.Apply(installed)
	there := func(apiVersion, kind, namespace, name string) bool {
		return s.Get(object(apiVersion, kind, namespace, name)) != nil
	}

	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	go func() {
		done <- Run(ctx, Options{Config: s.Config(), Poll: 20 * time.Millisecond, Logger: zaptest.NewLogger(t)})
	}()
	eventually(t, "the agents' DaemonSet is deleted", func() bool { return !there("apps/v1", "DaemonSet", "weft-system", "weft-agent") })
	if !there("apps/v1", "Deployment", "weft-system", "weft-controller") {
		t.Error("controllers were told to end before the agents had")
	}
	if !there("v1", "ConfigMap", "weft-system", "weft-uninstall") {
		t.Error("agents cannot tell an uninstall")
	}
	s.Delete(object("v1", "Pod", "weft-system", "agent-n1"))
	eventually(t, "the controllers' Deployment is deleted", func() bool { return !there("apps/v1", "Deployment", "weft-system", "weft-controller") })
	if !there("v1", "Service", "shop", "wp") {
		t.Error("a waypoint's Service was removed while a controller could write it again")
	}
	s.Delete(object("v1", "Pod", "weft-system", "controller"))
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	for _, o := range [][4]string{
		{"apps/v1", "Deployment", "shop", "wp"}, {"v1", "Service", "shop", "wp"}, {"v1", "ServiceAccount", "shop", "wp"},
		{"autoscaling/v2", "HorizontalPodAutoscaler", "shop", "wp"}, {"policy/v1", "PodDisruptionBudget", "shop", "wp"},
		{"v1", "ConfigMap", "shop", "weft-root"}, {"v1", "ConfigMap", "weft-system", "weft-uninstall"}, {"coordination.k8s.io/v1", "Lease", "weft-system", "weft-controller"},
	} {
		if there(o[0], o[1], o[2], o[3]) {
			t.Errorf("%s %s/%s is still there", o[1], o[2], o[3])
		}
	}
	for _, o := range [][4]string{{"v1", "Service", "shop", "theirs"}, {"v1", "ConfigMap", "shop", "theirs"}, {"v1", "Secret", "weft-system", "weft-ca"}} {
		if !there(o[0], o[1], o[2], o[3]) {
			t.Errorf("%s %s/%s is gone", o[1], o[2], o[3])
		}
	}
	u := s.Get(object("v1", "Node", "", "n1"))
	if taints, _ := u.Object["spec"].(map[string]any)["taints"].([]any); len(taints) == 0 || strings.Contains(strings.Join(keys(taints), " "), "weft.dev") || !strings.Contains(strings.Join(keys(taints), " "), "theirs") {
		t.Errorf("taints of n1 are %v", taints)
	}
	if err := Run(ctx, Options{Config: s.Config()}); err != nil {
		t.Errorf("a second run: %v", err)
	}
}

// An agent that does not end is named.
func TestTimeoutNamesThePods(t *testing.T) {
	s := kubetest.Start(t)
	s.Apply(installed)
	ctx, cancel := context.WithCancel(context.Background())
	core, logs := observer.New(zap.InfoLevel)
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Config: s.Config(), Poll: 20 * time.Millisecond, Logger: zap.New(core)})
	}()
	eventually(t, "it says what it waits for", func() bool { return logs.FilterMessage("waiting for pods to end").Len() > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "agent-n1 on n1; their nodes are not clean") {
		t.Errorf("ended with %v", err)
	}
}

func TestJobsPodIsNotWaitedFor(t *testing.T) {
	if isJob(&corev1.Pod{}) || !isJob(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "Job"}}}}) {
		t.Error("jobs are told by their owner")
	}
}

func keys(taints []any) []string {
	var out []string
	for _, v := range taints {
		m, _ := v.(map[string]any)
		k, _ := m["key"].(string)
		out = append(out, k)
	}
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
