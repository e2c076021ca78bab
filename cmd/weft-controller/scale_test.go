package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestMemoryPerPod prints what a controller takes, as a process of its own on a real API server, without pods and
// with WEFT_SCALE of them, each in the size of a Deployment's pod, 20 to a service. It runs only when asked.
func TestMemoryPerPod(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("WEFT_SCALE"))
	if err != nil {
		t.Skip("WEFT_SCALE is not set: the number of pods, e.g. 10000")
	}
	b := newCluster(t)
	b.c.lease = 0
	empty := b.measure("no pods", 0)
	start := time.Now()
	b.populate(n)
	t.Logf("%d pods made in %s", n, time.Since(start).Round(time.Second))
	full := b.measure(fmt.Sprintf("%d pods", n), n)
	t.Logf("per pod: %.1f KiB resident, %.1f KiB of heap in use", (full.resident-empty.resident)/1024/float64(n), (full.heap-empty.heap)/1024/float64(n))
}

type memory struct{ resident, heap, peak float64 }

// measure runs the program until it has read as many pods and then a quarter of a minute more.
func (b *onCluster) measure(what string, pods int) memory {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	log, err := os.Create(filepath.Join(b.dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	began := time.Now()
	cmd := exec.Command(os.Args[0], "--source", "kubernetes", "--kubeconfig", b.c.kubeconfig, "--ca-secret", "weft-ca", "--ca-dir", b.c.caDir,
		"--listen", at, "--debug-listen", "off", "--admin-socket", b.c.adminSocket, "--log-level", "warn")
	cmd.Env, cmd.Stderr = append(os.Environ(), asProgram+"=1"), log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	eventually(b.t, "everything is read", func() bool { return b.gauge("weft_controller_objects") >= float64(pods+1) })
	ready := time.Since(began)
	time.Sleep(15 * time.Second) // a measurement, not a condition
	m := memory{resident: b.gauge("process_resident_memory_bytes"), heap: b.gauge("go_memstats_heap_inuse_bytes"), peak: peak(b.t, cmd.Process.Pid)}
	b.t.Logf("%s: read and served after %s; %.0f MiB resident (peak %.0f), %.0f MiB of heap in use", what, ready.Round(100*time.Millisecond), m.resident/1048576, m.peak/1048576, m.heap/1048576)
	return m
}

func (b *bench) gauge(name string) float64 {
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(b.page("/metrics"))
	if m == nil {
		return -1
	}
	v, _ := strconv.ParseFloat(m[1], 64)
	return v
}

// peak is the most that a process ever had resident.
func peak(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(data))
	kb, _ := strconv.ParseFloat(m[1], 64)
	return kb * 1024
}

// populate makes pods on nodes of 100, and a service for each 20.
func (b *onCluster) populate(n int) {
	b.t.Helper()
	client := b.client()
	var g errgroup.Group
	g.SetLimit(16)
	for i := 0; i < n; i += 20 {
		g.Go(func() error { return populate(client, i, min(20, n-i)) })
	}
	if err := g.Wait(); err != nil {
		b.t.Fatal(err)
	}
}

func populate(client *kubernetes.Clientset, first, n int) error {
	ctx, app := context.Background(), fmt.Sprintf("app-%d", first/20)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: "shop"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	if _, err := client.CoreV1().Services("shop").Create(ctx, s, metav1.CreateOptions{}); err != nil {
		return err
	}
	for i := first; i < first+n; i++ {
		ip := fmt.Sprintf("10.%d.%d.%d", 100+i/62500, i/250%250, i%250+1)
		p, err := client.CoreV1().Pods("shop").Create(ctx, syntheticPod(app, i), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, HostIP: "192.0.2.1",
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Image: "app", ImageID: "sha256:" + strings.Repeat("0", 64), Ready: true}}}
		for _, c := range []corev1.PodConditionType{corev1.PodReady, corev1.PodInitialized, corev1.PodScheduled, corev1.ContainersReady} {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()})
		}
		if _, err := client.CoreV1().Pods("shop").UpdateStatus(ctx, p, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func syntheticPod(app string, i int) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: fmt.Sprintf("%s-7d4b9c6f5d-%05d", app, i), Namespace: "shop",
		Labels:          map[string]string{"app": app, "app.kubernetes.io/name": app, "app.kubernetes.io/version": "v1", "pod-template-hash": "7d4b9c6f5d"},
		Annotations:     map[string]string{"prometheus.io/scrape": "true", "weft.dev/redirection": "enabled"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: app + "-7d4b9c6f5d", UID: "6a3f8f0e-0000-4000-8000-000000000000", Controller: &yes}},
	}, Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i/100), ServiceAccountName: app}}
	c := corev1.Container{Name: "app", Image: "app", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}
	for j := range 20 {
		c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("VARIABLE_%d", j), Value: strings.Repeat("v", 40)})
	}
	p.Spec.Containers = []corev1.Container{c}
	return p
}
