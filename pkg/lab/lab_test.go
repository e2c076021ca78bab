package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const webYAML = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: %d
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: web
          image: test/app:v1
          args: [app, serve, %s]
          env: [{name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
          volumeMounts:
            - {name: scratch, mountPath: /run/scratch}
            - {name: trust, mountPath: /var/run/secrets/trust, readOnly: true}
      volumes:
        - {name: scratch, emptyDir: {}}
        - name: trust
          projected:
            sources:
              - {serviceAccountToken: {path: token, audience: weft-ca}}
              - {configMap: {name: weft-root}}
              - downwardAPI: {items: [{path: node, fieldRef: {fieldPath: spec.nodeName}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
`

// rig is a lab without a mesh, supervised by a process of its own.
type rig struct {
	t   *testing.T
	c   *Config
	dir string
	cmd *exec.Cmd
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("CI has to run as root: this test makes network namespaces")
	}
	t.Skip("needs root: makes network namespaces, cgroups and nftables rules")
}

func raise(t *testing.T, name string, edit func(*Config)) *rig {
	needRoot(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: t.TempDir()}
	r.c = &Config{Layout: Layout{Name: name, Nodes: 2}, Manifests: []string{r.dir}, NoMesh: true, Images: map[string]string{"test/app": self}}
	if edit != nil {
		edit(r.c)
	}
	if err := errors.Join(r.c.Complete(), Down(r.c.Layout), r.c.Save()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range r.c.NodeNames() {
				log, _ := os.ReadFile(r.c.LogFile("kubelet/" + n))
				t.Logf("kubelet %s: %s", n, log)
			}
		}
		if err := Down(r.c.Layout); err != nil {
			t.Error(err)
		}
		if left := Leftovers(r.c.Layout); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = r.cmd.Wait()
	})
	r.write("web.yaml", fmt.Sprintf(webYAML, 2, "one"))
	r.cmd = exec.Command(self, "lab", "supervise", "--name", name)
	r.cmd.Stderr = os.Stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.until("the lab is ready", func() bool {
		st, err := r.c.ReadState()
		return err == nil && st.Phase == Ready
	})
	return r
}

func (r *rig) write(file, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, file), []byte(text), 0o644); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			r.t.Fatalf("not after a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (r *rig) pods() []*corev1.Pod {
	r.t.Helper()
	pods, err := r.c.Pods()
	if err != nil {
		r.t.Fatal(err)
	}
	return pods
}

// get asks a URL from inside a pod.
func (r *rig) get(p *corev1.Pod, url string) (string, error) {
	var out, errs bytes.Buffer
	self, _ := os.Executable()
	err := Exec(context.Background(), r.c.Layout, p, []string{self, "app", "get", url}, Streams{Out: &out, Err: &errs})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errs.String())
	}
	return strings.TrimSpace(out.String()), err
}

func TestLabServesAndRolls(t *testing.T) {
	r := raise(t, "wfta", nil)
	pods := r.pods()
	if len(pods) != 2 || pods[0].Spec.NodeName == pods[1].Spec.NodeName {
		t.Fatalf("want 2 pods on 2 nodes, have %d", len(pods))
	}
	services, err := r.c.Services()
	if err != nil || len(services) != 1 {
		t.Fatalf("services: %v, %v", services, err)
	}
	peer := pods[1]
	for _, url := range []string{
		"http://web", "http://web.shop.svc.cluster.local",
		"http://" + services[0].Spec.ClusterIPs[0], "http://[" + services[0].Spec.ClusterIPs[1] + "]",
		"http://" + peer.Status.PodIPs[0].IP + ":8080", "http://[" + peer.Status.PodIPs[1].IP + "]:8080",
	} {
		if got, err := r.get(pods[0], url); err != nil || !strings.HasPrefix(got, "one web-") {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	if _, err := r.get(pods[0], "http://web:81"); err == nil {
		t.Error("a port that the service does not have answered")
	}
	if out, err := FromNode(t.Context(), r.c.Layout, "n1", false, []string{"/proc/self/exe"}); err == nil {
		t.Errorf("a program that does not exist ran: %s", out)
	}
	r.files(pods[0])
	r.rollUnderLoad(pods)
	r.restart()
}

// files looks at what a pod sees: its volumes, its own names, and nothing of the lab.
func (r *rig) files(p *corev1.Pod) {
	r.t.Helper()
	script := `set -e
cut -d. -f2 /run/secrets/trust/token | wc -l
cat /var/run/secrets/trust/node; echo
head -1 /run/secrets/trust/root-cert.pem
echo kept > /run/scratch/x
if echo no 2>/dev/null > /run/secrets/trust/new; then echo writable; fi
hostname
ls /run | tr '\n' ' '
head -1 /etc/resolv.conf`
	var out bytes.Buffer
	if err := Exec(context.Background(), r.c.Layout, p, []string{"sh", "-c", script}, Streams{Out: &out, Err: &out}); err != nil {
		r.t.Fatalf("%v: %s", err, out.String())
	}
	want := fmt.Sprintf("1\n%s\n-----BEGIN CERTIFICATE-----\n%s\nscratch secrets search shop.svc.cluster.local svc.cluster.local cluster.local\n", p.Spec.NodeName, p.Name)
	if out.String() != want {
		r.t.Errorf("the pod sees\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	if err := Exec(context.Background(), r.c.Layout, p, []string{"cat", "/run/scratch/x"}, Streams{Out: &out}); err != nil || out.String() != "kept\n" {
		r.t.Errorf("another process of the pod reads %q from the volume (%v)", out.String(), err)
	}
}

// rollUnderLoad changes the version while a pod of another Deployment calls without pause: no call fails.
func (r *rig) rollUnderLoad(old []*corev1.Pod) {
	r.t.Helper()
	r.write("caller.yaml", strings.NewReplacer("web", "caller", "replicas: 2", "replicas: 1").Replace(fmt.Sprintf(webYAML, 2, "caller")))
	var caller *corev1.Pod
	r.until("the caller is ready", func() bool {
		for _, p := range r.pods() {
			if strings.HasPrefix(p.Name, "caller") && PodReady(p) {
				caller = p
			}
		}
		return caller != nil
	})
	r.write("web.yaml", "metadata: {name: [broken")
	saved := make(chan struct{})
	go func() { // a slow editor: the file is empty for a while, then holds a part
		defer close(saved)
		next := fmt.Sprintf(webYAML, 3, "two")
		for _, part := range []string{"", next[:strings.Index(next, "---")], next} {
			r.write("web.yaml", part)
			time.Sleep(100 * time.Millisecond)
		}
	}()
	began, calls, failures := time.Now(), 0, []string{}
	r.until("all three pods run the new version", func() bool {
		calls++
		if _, err := r.get(caller, "http://web"); err != nil {
			failures = append(failures, err.Error())
		}
		n := 0
		for _, p := range r.pods() {
			if p.Labels["app"] == "web" {
				n++
				if !PodReady(p) || p.Spec.Containers[0].Args[2] != "two" {
					return false
				}
			}
		}
		return n == 3
	})
	<-saved
	r.t.Logf("rolled in %s, %d calls", time.Since(began).Round(time.Millisecond), calls)
	if len(failures) > 0 {
		r.t.Errorf("%d of %d calls failed during the rollout: %s", len(failures), calls, failures[0])
	}
	for _, p := range old {
		if _, err := os.Stat(filepath.Join(netnsDir, r.c.PodNS(p.Namespace, p.Name))); err == nil {
			r.t.Errorf("the namespace of %s is still there", p.Name)
		}
	}
}

// restart kills a pod's process: the kubelet starts it again and counts.
func (r *rig) restart() {
	r.t.Helper()
	p := r.pods()[1]
	procs, err := Processes(r.c.Layout, p)
	if err != nil || len(procs) != 1 {
		r.t.Fatalf("processes %v: %v", procs, err)
	}
	if err := procs[0].Signal(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	r.until("the pod is ready again after one restart", func() bool {
		now := find(r.pods(), p.Namespace, p.Name)
		return now != nil && PodReady(now) && now.Status.ContainerStatuses[0].RestartCount == 1
	})
	if procs[0].Alive() {
		r.t.Error("the killed process is alive")
	}
}

// A supervisor that dies by SIGKILL leaves everything behind; Down removes it.
func TestDownAfterSupervisorWasKilled(t *testing.T) {
	r := raise(t, "wftb", nil)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait()
	if len(Leftovers(r.c.Layout)) == 0 {
		t.Fatal("nothing is left to remove: the test proves nothing")
	}
	if err := Down(r.c.Layout); err != nil {
		t.Fatal(err)
	}
	if left := Leftovers(r.c.Layout); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A lab with an owner goes when the owner dies, however it dies.
func TestLabGoesWithItsOwner(t *testing.T) {
	owner := exec.Command("sleep", "600")
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	r := raise(t, "wftc", func(c *Config) {
		id, err := identify(owner.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		c.Owner = id
	})
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = owner.Wait()
	r.until("the lab is gone", func() bool { return len(Leftovers(r.c.Layout)) == 0 })
}

func TestCompleteRefusesWhatCannotBe(t *testing.T) {
	for want, c := range map[string]*Config{
		"lab name":       {Layout: Layout{Name: "No-Name", Nodes: 2}, NoMesh: true},
		"nodes":          {Layout: Layout{Name: "a", Nodes: 9}, NoMesh: true},
		"no such file":   {Layout: Layout{Name: "a", Nodes: 1}, NoMesh: true, Manifests: []string{"/no/such/dir"}},
		"weft-controlle": {Layout: Layout{Name: "a", Nodes: 1}, BinDir: "/no/such/dir"},
	} {
		if err := c.Complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if _, err := Load("nosuchlab"); !errors.Is(err, ErrNoLab) {
		t.Errorf("Load: %v", err)
	}
}

func TestProgramOfImages(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"shop-cart", "weft-waypoint", "other"} {
		if err := os.WriteFile(filepath.Join(dir, n), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	images := map[string]string{"registry:5000/other": filepath.Join(dir, "other")}
	for image, want := range map[string]string{
		"weft.dev/shop/cart": "shop-cart", "weft.dev/shop/cart:v2": "shop-cart", "weft.dev/waypoint@sha256:00": "weft-waypoint",
		"registry:5000/other:v1": "other", "nginx": "", "weft.dev/shop/missing": "",
	} {
		got, err := programOf(image, images, dir)
		if want == "" && err == nil || want != "" && filepath.Base(got) != want {
			t.Errorf("%s: %s, %v; want %q", image, got, err, want)
		}
	}
}
