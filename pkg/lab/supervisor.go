package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Supervise raises the lab and keeps it until the context ends; then it takes everything away again, also
// when raising failed. The state directory says how far it is.
func Supervise(ctx context.Context, c *Config, log *zap.Logger) error {
	if log == nil {
		log = zap.NewNop()
	}
	self, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	s := &supervisor{Config: c, log: log, state: &stateFile{path: c.Path("state.json")}}
	err = errors.Join(c.Save(), s.state.change(func(st *State) {
		*st = State{Phase: Starting, Supervisor: self, Programs: map[string]*Program{}}
	}))
	if err == nil {
		err = s.raise()
	}
	if err == nil {
		s.run(ctx)
	} else {
		log.Error("cannot raise the lab", zap.Error(err))
	}
	return errors.Join(err, sweep(c.Layout))
}

type supervisor struct {
	*Config
	log   *zap.Logger
	state *stateFile
	// upgrades ask for a new process of a program, by its name.
	upgrades map[string]chan struct{}
}

// raise makes everything that is not a process.
func (s *supervisor) raise() error {
	for _, dir := range []string{s.podsDir(), s.servicesDir(), s.nodesDir(), s.deployDir(), s.StatusDir(), s.Path("logs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("raise: %w", err)
		}
	}
	for _, node := range s.NodeNames() {
		if err := os.MkdirAll(s.wantedDir(node), 0o755); err != nil {
			return fmt.Errorf("raise: %w", err)
		}
	}
	if err := raiseNodes(s.Layout); err != nil {
		return err
	}
	if err := s.writeNodes(); err != nil {
		return err
	}
	if err := prepareTrust(s.Layout, trustDomain); err != nil {
		return err
	}
	if s.NoMesh {
		return nil
	}
	return mountBPF(s.Layout)
}

// trustDomain of every lab.
const trustDomain = "cluster.local"

// writeNodes writes the Node objects, each in a zone of its own.
func (s *supervisor) writeNodes() error {
	for i, name := range s.NodeNames() {
		n := netOf(i + 1)
		node := &corev1.Node{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
				corev1.LabelHostname: name, corev1.LabelTopologyRegion: "lab", corev1.LabelTopologyZone: fmt.Sprintf("zone-%c", 'a'+i),
			}},
			Spec: corev1.NodeSpec{
				PodCIDR: n.pods4.String(), PodCIDRs: []string{n.pods4.String(), n.pods6.String()},
			},
			Status: corev1.NodeStatus{
				Addresses: []corev1.NodeAddress{
					{Type: corev1.NodeInternalIP, Address: n.ip4.String()}, {Type: corev1.NodeInternalIP, Address: n.ip6.String()},
					{Type: corev1.NodeHostName, Address: name},
				},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			},
		}
		if err := writeObject(filepath.Join(s.nodesDir(), name+".yaml"), node); err != nil {
			return err
		}
	}
	return nil
}

// run keeps the programs running and the cluster's objects up to date until the context ends.
func (s *supervisor) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	all := s.programs()
	s.upgrades = map[string]chan struct{}{}
	for _, p := range all {
		if p.admin != "" {
			s.upgrades[p.name] = make(chan struct{})
		}
	}
	for _, p := range all {
		wg.Go(func() { s.keep(ctx, p) })
	}
	wg.Go(func() { s.hearUpgrades(ctx) })
	wg.Go(func() {
		if err := newControl(s).run(ctx); err != nil {
			s.log.Error("cannot follow the manifests", zap.Error(err))
			cancel()
		}
	})
	wg.Go(func() { s.mournOwner(ctx, cancel) })
	<-ctx.Done()
	cancel()
	wg.Wait()
}

// mournOwner ends the lab when the process that it lives for is gone, however that died.
func (s *supervisor) mournOwner(ctx context.Context, end func()) {
	if s.Owner.PID == 0 {
		return
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for s.Owner.Alive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	s.log.Warn("the process that this lab lives for is gone: taking it down")
	end()
}
