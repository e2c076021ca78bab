package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// KeepEvidence writes what a person needs to find out why a test failed into a folder below Out: events, pods, logs of
// Weft's programs (also of those before a restart), their config dumps, and the nodes' logs. It goes on when a part
// cannot be had and says so in its place.
func (e *Env) KeepEvidence(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	dir := filepath.Join(e.Out, "evidence", strings.ReplaceAll(name, "/", "-"))
	_ = os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err.Error()
	}
	write := func(file, text string, err error) {
		if err != nil {
			text += "\n" + err.Error() + "\n"
		}
		_ = os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644)
	}
	for file, args := range map[string][]string{
		"events.txt": {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		"pods.txt":   {"get", "pods", "-A", "-o", "wide"},
		"pods.yaml":  {"get", "pods", "-A", "-o", "yaml"},
		"nodes.yaml": {"get", "nodes", "-o", "yaml"},
		"weft.yaml":  {"get", "peerauthentications.weft.dev,authorizationpolicies.weft.dev,namespaces,services,endpointslices", "-A", "-o", "yaml"},
	} {
		out, err := e.Kubectl(ctx, args...)
		write(file, out, err)
	}
	e.keepPages(ctx, write)
	pods, err := e.Client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		write("logs.txt", "", err)
		return dir
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			out, err := e.Kubectl(ctx, "-n", p.Namespace, "logs", p.Name, "-c", c.Name, "--tail=5000")
			write(fmt.Sprintf("log-%s-%s-%s.txt", p.Namespace, p.Name, c.Name), out, err)
			if out, err := e.Kubectl(ctx, "-n", p.Namespace, "logs", p.Name, "-c", c.Name, "--previous", "--tail=5000"); err == nil {
				write(fmt.Sprintf("log-%s-%s-%s-previous.txt", p.Namespace, p.Name, c.Name), out, nil)
			}
		}
	}
	if e.Cluster != nil {
		_ = os.CopyFS(filepath.Join(dir, "cluster"), os.DirFS(e.Cluster.LogDir()))
	}
	return dir
}
