package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/cni/install"
	"github.com/weftmesh/weft/pkg/source"
)

// cniConfig says where weft-cni is installed.
type cniConfig struct {
	confDir, binDir    string
	hostSocket, plugin string
}

func (c cniConfig) validate(socket string) error {
	switch {
	case (c.confDir == "") != (c.binDir == ""):
		return errors.New("--cni-conf-dir and --cni-bin-dir go together")
	case c.confDir != "" && socket == "":
		return errors.New("--cni-conf-dir needs --cni-socket, which the installed plugin asks")
	}
	return nil
}

// prepareCNI has the plugin installed, and what it needs while no agent runs written down.
func (a *agent) prepareCNI() (err error) {
	a.watch.before = append(a.watch.before, a.leaveModes())
	if c := a.c.cni; c.confDir != "" {
		a.install, err = install.New(install.Options{ConfDir: c.confDir, BinDir: c.binDir, Plugin: c.plugin, HostSocket: c.hostSocket, Pins: a.c.pins(),
			Metrics: install.NewMetrics(a.metrics), Log: a.log.Named("cni")})
	}
	return err
}

// installCNI begins when the agent can answer the first plugin.
func (a *agent) installCNI(ctx context.Context) error {
	select {
	case <-a.watch.known:
		return a.install.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// leaveModes writes which namespaces are enrolled, whenever that changes.
func (a *agent) leaveModes() func(*source.Objects) {
	var written map[string]cni.Mode
	path := cni.StatePath(a.c.cniSocket)
	return func(o *source.Objects) {
		s := stateOf(o, nil)
		modes := install.Modes(s.Namespaces, s.Pods)
		if written != nil && maps.Equal(modes, written) {
			return
		}
		if err := cni.WriteState(path, modes); err != nil {
			a.log.Error("weft-cni will go by what was left before, should this agent be away", zap.Error(err))
			return
		}
		written = modes
	}
}

// removeCNI takes the plugin off the node.
func (c config) removeCNI(log *zap.Logger) error {
	if c.cni.confDir == "" {
		return nil
	}
	if err := install.Remove(c.cni.confDir, c.cni.binDir, c.cniSocket); err != nil {
		return fmt.Errorf("remove the CNI plugin: %w", err)
	}
	log.Info("CNI plugin removed", zap.String("from", c.cni.confDir))
	return nil
}
