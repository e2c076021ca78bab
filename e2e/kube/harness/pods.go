package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/e2e/cluster"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Captured is the annotation of a pod whose traffic Weft carries.
const Captured = "weft.dev/redirection"

// Namespace makes a namespace, in the mesh or not, and gives what removes it.
func (e *Env) Namespace(ctx context.Context, name string, enrolled bool) (remove func(), err error) {
	labels := map[string]string{"e2e": "true"}
	if enrolled {
		labels["weft.dev/dataplane-mode"] = "ambient"
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := e.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return func() {
		late, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		_ = e.DeleteNamespace(late, name)
	}, nil
}

// DeleteNamespace deletes a namespace and returns when it is gone.
func (e *Env) DeleteNamespace(ctx context.Context, name string) error {
	err := e.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return Poll(ctx, 2*time.Minute, "namespace "+name+" to go", func(ctx context.Context) error {
		_, err := e.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("it is there")
	})
}

// Image is what the tests' pods run: E2E_BASE, or the image that weft-cluster puts on its nodes.
func Image() string { return cmp.Or(os.Getenv("E2E_BASE"), cluster.BaseImage) }

// Server is a Deployment of the app's servers with a Service: HTTP 80 (pods: 8080), gRPC 9090, TCP echo 7070.
type Server struct {
	Namespace, Name string
	Replicas        int
	Node            string // empty: spread
	Probes          string // YAML of further fields of the container; empty: an HTTP readiness probe
}

// Deploy applies it and waits until every replica is ready.
func (e *Env) Deploy(ctx context.Context, s Server) error {
	probes := s.Probes
	if probes == "" {
		// patient: on a machine that is short of processors it must not take the server away
		probes = `readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 20, failureThreshold: 10}`
	}
	err := e.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: %[2]s}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  selector: {app: %[1]s}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: grpc, port: 9090}
  - {name: tcp, port: 7070}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      serviceAccountName: %[1]s
      terminationGracePeriodSeconds: 10%[5]s
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: %[1]s}}}
      containers:
      - name: app
        image: %[4]s
        command: [/bin/app, serve]
        lifecycle: {preStop: {sleep: {seconds: 2}}}
        resources: {requests: {cpu: 5m, memory: 16Mi}}
        %[6]s
`, s.Name, s.Namespace, s.Replicas, Image(), onNode(s.Node, 6), strings.ReplaceAll(strings.TrimSpace(probes), "\n", "\n        ")))
	if err != nil {
		return err
	}
	return e.WaitRollout(ctx, s.Namespace, "deployment/"+s.Name)
}

// onNode pins a pod to a node without going past the scheduler, so that taints count.
func onNode(node string, indent int) string {
	if node == "" {
		return ""
	}
	return "\n" + strings.Repeat(" ", indent) + "nodeSelector: {kubernetes.io/hostname: " + node + "}"
}

// Pod makes a pod of the base image that runs a command of the app, and waits until it is Ready.
func (e *Env) Pod(ctx context.Context, namespace, name, node string, command ...string) error {
	if err := e.ApplyPod(ctx, namespace, name, node, command...); err != nil {
		return err
	}
	return e.WaitReady(ctx, namespace, name)
}

// ApplyPod makes a pod and does not wait for it.
func (e *Env) ApplyPod(ctx context.Context, namespace, name, node string, command ...string) error {
	quoted := make([]string, len(command))
	for i, c := range command {
		quoted[i] = fmt.Sprintf("%q", c)
	}
	return e.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s, namespace: %[2]s}
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: %[2]s, labels: {app: %[1]s}}
spec:
  serviceAccountName: %[1]s
  terminationGracePeriodSeconds: 1
  restartPolicy: Never%[5]s
  containers:
  - {name: app, image: "%[3]s", command: [/bin/app, %[4]s], resources: {requests: {cpu: 5m, memory: 16Mi}}}
`, name, namespace, Image(), strings.Join(quoted, ", "), onNode(node, 2)))
}

// WaitReady returns when a pod is Ready.
func (e *Env) WaitReady(ctx context.Context, namespace, name string) error {
	_, err := e.Kubectl(ctx, "-n", namespace, "wait", "--for=condition=Ready", "pod/"+name, "--timeout=90s")
	if err != nil {
		events, _ := e.Kubectl(ctx, "-n", namespace, "events", "--for=pod/"+name)
		err = fmt.Errorf("%w\n%s", err, events)
	}
	return err
}

// DeletePod deletes a pod and returns when it is gone.
func (e *Env) DeletePod(ctx context.Context, namespace, name string) error {
	_, err := e.Kubectl(ctx, "-n", namespace, "delete", "pod", name, "--ignore-not-found", "--timeout=60s")
	return err
}

// Exec runs a command in a pod and gives what it printed.
func (e *Env) Exec(ctx context.Context, namespace, pod string, command ...string) (string, error) {
	return e.Kubectl(ctx, append([]string{"-n", namespace, "exec", pod, "--"}, command...)...)
}

// Pods lists the pods with a label app=NAME, or all of the namespace.
func (e *Env) Pods(ctx context.Context, namespace, app string) ([]corev1.Pod, error) {
	o := metav1.ListOptions{}
	if app != "" {
		o.LabelSelector = "app=" + app
	}
	l, err := e.Client.CoreV1().Pods(namespace).List(ctx, o)
	if err != nil {
		return nil, err
	}
	return l.Items, nil
}

// WaitCaptured returns when every pod of a namespace says that Weft carries its traffic.
func (e *Env) WaitCaptured(ctx context.Context, namespace string) error {
	return Poll(ctx, time.Minute, "pods of "+namespace+" to be captured", func(ctx context.Context) error {
		pods, err := e.Pods(ctx, namespace, "")
		if err != nil {
			return err
		}
		var open []string
		for _, p := range pods {
			if p.Annotations[Captured] != "enabled" {
				open = append(open, p.Name)
			}
		}
		if len(pods) == 0 || len(open) > 0 {
			return fmt.Errorf("of %d pods, without the annotation %s=enabled: %v", len(pods), Captured, open)
		}
		return nil
	})
}

// NodeNames are the names of all nodes, in order.
func (e *Env) NodeNames(ctx context.Context) ([]string, error) {
	l, err := e.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, n := range l.Items {
		names = append(names, n.Name)
	}
	slices.Sort(names)
	return names, nil
}

// SystemPods lists the pods of one of Weft's programs.
func (e *Env) SystemPods(ctx context.Context, program string) ([]corev1.Pod, error) {
	l, err := e.Client.CoreV1().Pods(SystemNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(l.Items, func(p corev1.Pod) bool { return !strings.HasPrefix(p.Name, program+"-") }), nil
}
