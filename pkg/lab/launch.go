package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// launch starts a container's process in the pod's namespaces and cgroup.
func (r *podRuntime) launch(spec *corev1.Container) (*exec.Cmd, error) {
	argv, err := r.argv(spec)
	if err != nil {
		return nil, err
	}
	log, err := openLog(r.k.Layout.PodLog(r.pod.Namespace, r.pod.Name, spec.Name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := InPod(r.k.Layout, r.k.Self, r.pod, argv)
	c.env = append(r.baseEnv(), r.env(spec)...)
	c.stdout, c.stderr = log, log
	return c.start()
}

func (r *podRuntime) baseEnv() []string {
	if r.k.Envoy == "" {
		return BaseEnv()
	}
	return append(BaseEnv(), "WEFT_ENVOY="+r.k.Envoy)
}

// runInside runs a command beside the container, for exec probes.
func (r *podRuntime) runInside(ctx context.Context, spec *corev1.Container, argv []string) error {
	c := InPod(r.k.Layout, r.k.Self, r.pod, argv)
	c.env = append(r.baseEnv(), r.env(spec)...)
	cmd, err := c.start()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	return cmd.Wait()
}

// InPod prepares a command to run as a process of the pod: its network, cgroup, name and files. self is
// the program with the hidden command "lab pod-init", which puts the pod's files in place.
func InPod(l Layout, self string, p *corev1.Pod, argv []string) command {
	return command{
		path:  self,
		args:  append([]string{"lab", "pod-init", filepath.Join(l.podDir(p.Namespace, p.Name), "init.json"), "--"}, argv...),
		netns: l.PodNS(p.Namespace, p.Name), cgroup: l.podCgroup(p.Spec.NodeName, p.Namespace, p.Name), private: true,
	}
}

// argv is what to run: the manifest's command and args, where the command's default is the image's program.
func (r *podRuntime) argv(spec *corev1.Container) ([]string, error) {
	argv := append([]string(nil), spec.Command...)
	if len(argv) == 0 {
		program, err := programOf(spec.Image, r.k.Images, r.k.BinDir)
		if err != nil {
			return nil, err
		}
		argv = []string{program}
	}
	vars := map[string]string{}
	for _, kv := range r.env(spec) {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	for _, a := range spec.Args {
		argv = append(argv, expand(a, vars))
	}
	return argv, nil
}

// expand replaces $(NAME) by variables that exist, as Kubernetes does.
func expand(s string, vars map[string]string) string {
	for k, v := range vars {
		s = strings.ReplaceAll(s, "$("+k+")", v)
	}
	return s
}

// programOf leads from an image to a program: by the map, or for our own images by name
// (weft.dev/shop/cart → shop-cart, weft.dev/waypoint → weft-waypoint).
func programOf(image string, images map[string]string, binDir string) (string, error) {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	program := images[name]
	if program == "" {
		if rest, ok := strings.CutPrefix(name, "weft.dev/shop/"); ok {
			program = filepath.Join(binDir, "shop-"+path.Base(rest))
		} else if rest, ok := strings.CutPrefix(name, "weft.dev/"); ok {
			program = filepath.Join(binDir, "weft-"+path.Base(rest))
		}
	}
	if program == "" {
		return "", fmt.Errorf("image %s: the lab pulls no images; say which program it is with --image %s=/path/to/program", image, name)
	}
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("image %s is program %s: %w (make build?)", image, program, err)
	}
	return program, nil
}

// env is the container's environment, with the downward API resolved.
func (r *podRuntime) env(spec *corev1.Container) []string {
	var env []string
	vars := map[string]string{}
	for _, e := range spec.Env {
		v := expand(e.Value, vars)
		if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
			v = r.field(e.ValueFrom.FieldRef.FieldPath)
		}
		vars[e.Name] = v
		env = append(env, e.Name+"="+v)
	}
	return env
}

// field answers the downward API.
func (r *podRuntime) field(name string) string {
	quoted := func(prefix string) (string, bool) {
		rest, ok := strings.CutPrefix(name, prefix+"['")
		return strings.TrimSuffix(rest, "']"), ok
	}
	if key, ok := quoted("metadata.labels"); ok {
		return r.pod.Labels[key]
	}
	if key, ok := quoted("metadata.annotations"); ok {
		return r.pod.Annotations[key]
	}
	switch name {
	case "metadata.name":
		return r.pod.Name
	case "metadata.namespace":
		return r.pod.Namespace
	case "metadata.uid":
		return string(r.pod.UID)
	case "spec.nodeName":
		return r.pod.Spec.NodeName
	case "spec.serviceAccountName":
		return r.pod.Spec.ServiceAccountName
	case "status.podIP":
		return r.net.ip4.String()
	case "status.podIPs":
		return r.net.ip4.String() + "," + r.net.ip6.String()
	case "status.hostIP":
		return r.net.node.ip4.String()
	}
	return ""
}

// prepareFiles writes what pod-init puts into the pod's mount namespace.
func (r *podRuntime) prepareFiles() error {
	dir := r.k.Layout.podDir(r.pod.Namespace, r.pod.Name)
	// timeout:1, for a query that is under way when a ztunnel is killed gets no answer, and a resolver asks
	// again only after its timeout (5 s unless told).
	resolv := fmt.Sprintf("search %s.svc.%[2]s svc.%[2]s %[2]s\nnameserver %[3]s\noptions ndots:5 timeout:1 attempts:5\n", r.pod.Namespace, ClusterDomain, DNSAddress)
	if err := writeFile(filepath.Join(dir, "resolv.conf"), []byte(resolv)); err != nil {
		return err
	}
	setup := podInit{Hostname: r.pod.Name, ResolvConf: filepath.Join(dir, "resolv.conf")}
	for _, c := range r.pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			source, err := r.volume(dir, m.Name)
			if err != nil {
				return err
			}
			setup.Mounts = append(setup.Mounts, podMount{Source: filepath.Join(source, m.SubPath), Target: m.MountPath, ReadOnly: m.ReadOnly})
		}
	}
	data, err := json.Marshal(setup)
	if err != nil {
		return err
	}
	return errors.Join(writeFile(filepath.Join(dir, "init.json"), data))
}
