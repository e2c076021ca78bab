package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
)

// kubelet keeps the redirection told of the kubelet's cgroups, which have new ids after each restart of it.
type kubelet struct {
	paths []string       // its folders, as given
	auto  *kubeletFinder // finds them instead; nil: they are given
	set   func(ids ...uint64) error
	log   *zap.Logger

	ids   []uint64 // as set
	known bool     // set was called
	told  string   // the last trouble that was logged
}

// refresh reads the ids anew. A folder that does not exist is left out: the kubelet is not there (yet).
func (k *kubelet) refresh() error {
	if k.auto != nil {
		return k.follow()
	}
	var ids []uint64
	for _, path := range k.paths {
		id, err := bpf.CgroupID(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("--kubelet-cgroup: %w", err)
		}
		ids = append(ids, id)
	}
	if k.known && slices.Equal(ids, k.ids) {
		return nil
	}
	if err := k.set(ids...); err != nil {
		return fmt.Errorf("--kubelet-cgroup: %w", err)
	}
	k.ids, k.known = ids, true
	if len(ids) < len(k.paths) {
		k.log.Warn("the kubelet's cgroup does not exist (yet); probes are treated as plain text meanwhile", zap.Strings("cgroups", k.paths))
	} else {
		k.log.Info("probes of the kubelet go straight to applications", zap.Strings("cgroups", k.paths))
	}
	return nil
}

// follow finds the kubelet by its process.
func (k *kubelet) follow() error {
	id, err := k.auto.find()
	var ids []uint64
	trouble := ""
	if err != nil {
		trouble = err.Error()
	} else {
		ids = []uint64{id}
	}
	if trouble != k.told && trouble != "" {
		k.log.Warn("probes of enrolled pods are treated as plain text, and fail under STRICT", zap.Error(err))
	}
	k.told = trouble
	if errors.Is(err, errNoKubelet) && k.known {
		return nil // it will be back, most likely in the same cgroup, in which nobody is meanwhile
	}
	if k.known && slices.Equal(ids, k.ids) {
		return nil
	}
	if err := k.set(ids...); err != nil {
		return fmt.Errorf("--kubelet-cgroup auto: %w", err)
	}
	k.ids, k.known = ids, true
	if id != 0 {
		k.log.Info("probes of the kubelet go straight to applications", zap.String("cgroup", k.auto.rel), zap.Int("pid", k.auto.pid))
		if others := k.auto.others(); len(others) > 0 {
			k.log.Warn("others live in the kubelet's cgroup and may use its way to applications; give it a cgroup of its own",
				zap.String("cgroup", k.auto.rel), zap.Strings("processes", others))
		}
	}
	return nil
}
