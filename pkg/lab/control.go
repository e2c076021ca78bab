package lab

import (
	"errors"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// control is the part of a control plane that the lab plays: it reads manifests and writes Services with
// virtual addresses, and Pods for the kubelets.
type control struct {
	*supervisor
	manifests *reader
	cluster   *reader
	vips      *vips
	wanted    []*corev1.Pod
	problem   string // last reported, so that it is reported once
}

func newControl(s *supervisor) *control {
	return &control{supervisor: s, manifests: newReader(), cluster: newReader(), vips: newVIPs()}
}

// sync brings the cluster's objects in line with the manifests.
func (c *control) sync() {
	asked, err := c.manifests.read(append(append([]string(nil), c.Manifests...), c.deployDir())...)
	running, runErr := c.cluster.read(c.podsDir())
	err = errors.Join(err, runErr, c.writeServices(asked.Services))
	ready := func(p *corev1.Pod) bool {
		now := find(running.Pods, p.Namespace, p.Name)
		return now != nil && now.UID == p.UID && isReady(now)
	}
	before := c.wanted
	c.wanted = plan(asked, c.wanted, ready, c.NodeNames())
	for _, p := range c.wanted {
		if find(before, p.Namespace, p.Name) == nil && !c.NoMesh && captured(p, asked.Namespaces) {
			setAnnotation(p, annotationHold, "true")
		}
	}
	err = errors.Join(err, c.writeWanted())
	if text := fmt.Sprint(err); text != c.problem {
		c.problem = text
		if err != nil {
			c.log.Error("some manifests are broken; their last good content stays in force", zap.Error(err))
		}
	}
	c.report(ready)
}

// captured reports whether a new pod is to be enrolled before it starts.
func captured(p *corev1.Pod, namespaces []*corev1.Namespace) bool {
	if p.Spec.HostNetwork || p.Labels[api.LabelGatewayName] != "" {
		return false
	}
	if mode, ok := p.Labels[api.LabelMode]; ok {
		return mode == api.ModeAmbient
	}
	for _, ns := range namespaces {
		if ns.Name == p.Namespace {
			return ns.Labels[api.LabelMode] == api.ModeAmbient
		}
	}
	return false
}

func setAnnotation(p *corev1.Pod, key, value string) {
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[key] = value
}

func (c *control) writeServices(services []*corev1.Service) error {
	files, keep := map[string]bool{}, map[string]bool{}
	for _, s := range services {
		keep[s.Namespace+"/"+s.Name] = true
	}
	c.vips.forget(keep)
	var errs []error
	for _, s := range services {
		full, err := c.vips.assign(s)
		if err == nil {
			path := objectFile(c.servicesDir(), s.Namespace, s.Name)
			files[path] = true
			err = writeObject(path, full)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, prune(c.servicesDir(), files))...)
}

func (c *control) writeWanted() error {
	files := map[string]bool{}
	var errs []error
	for _, p := range c.wanted {
		if _, err := c.nodeNet(p.Spec.NodeName); err != nil {
			errs = append(errs, fmt.Errorf("pod %s/%s: %w", p.Namespace, p.Name, err))
			continue
		}
		path := objectFile(c.wantedDir(p.Spec.NodeName), p.Namespace, p.Name)
		files[path] = true
		errs = append(errs, writeObject(path, p))
	}
	for _, n := range c.NodeNames() {
		errs = append(errs, prune(c.wantedDir(n), files))
	}
	return errors.Join(errs...)
}

// report moves the lab to Ready when every wanted pod is, and says what it waits for until then.
func (c *control) report(ready func(*corev1.Pod) bool) {
	var waiting []string
	for _, p := range c.wanted {
		if !ready(p) {
			waiting = append(waiting, "pod "+p.Namespace+"/"+p.Name)
		}
	}
	err := c.state.change(func(s *State) {
		s.Waiting = waiting
		if len(waiting) == 0 && s.Phase == Starting {
			s.Phase = Ready
		}
	})
	if err != nil {
		c.log.Error("cannot write the lab's state", zap.Error(err))
	}
}
