package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// control is the part of a control plane that the lab plays: it reads manifests and writes Services with
// virtual addresses, and Pods for the kubelets.
type control struct {
	*supervisor

	mu       sync.Mutex // protects what follows
	asked    *objects   // of the manifests; nil until they are read
	running  *objects   // as the kubelets report; nil until that is read
	problems []source.Problem
	vips     *vips
	wanted   []*corev1.Pod
	failure  string // last reported, so that it is reported once
}

func newControl(s *supervisor) *control { return &control{supervisor: s, vips: newVIPs()} }

// run plays until the context ends.
func (c *control) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		dirs := append(append([]string(nil), c.Manifests...), c.deployDir())
		return follow(ctx, dirs, c.log, func(o objects, problems []source.Problem) {
			c.sync(func() {
				if !slices.Equal(problems, c.problems) {
					c.log.Warn("problems of manifests; what was good before stays in force", zap.Stringers("problems", problems))
				}
				c.asked, c.problems = &o, problems
			})
		})
	})
	g.Go(func() error {
		return follow(ctx, []string{c.podsDir()}, c.log, func(o objects, _ []source.Problem) {
			c.sync(func() { c.running = &o })
		})
	})
	return g.Wait()
}

// sync brings the cluster's objects in line with the manifests, after learn has noted what is new.
func (c *control) sync(learn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	learn()
	if c.asked == nil || c.running == nil {
		return
	}
	ready := func(p *corev1.Pod) bool {
		now := find(c.running.Pods, p.Namespace, p.Name)
		return now != nil && now.UID == p.UID && isReady(now)
	}
	err := c.writeServices(c.asked.Services)
	before := c.wanted
	c.wanted = plan(*c.asked, c.wanted, ready, c.NodeNames())
	for _, p := range c.wanted {
		if find(before, p.Namespace, p.Name) == nil && !c.NoMesh && captured(p, c.asked.Namespaces) {
			setAnnotation(p, annotationHold, "true")
		}
	}
	err = errors.Join(err, c.writeWanted())
	if text := fmt.Sprint(err); text != c.failure {
		c.failure = text
		if err != nil {
			c.log.Error("cannot do everything that the manifests ask for", zap.Error(err))
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
		s.Waiting, s.Problems = waiting, c.problems
		if len(waiting) == 0 && s.Phase == Starting {
			s.Phase = Ready
		}
	})
	if err != nil {
		c.log.Error("cannot write the lab's state", zap.Error(err))
	}
}
