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
	paths []string
	set   func(ids ...uint64) error
	log   *zap.Logger

	ids   []uint64 // as set
	known bool     // set was called
}

// refresh reads the ids anew. A folder that does not exist is left out: the kubelet is not there (yet).
func (k *kubelet) refresh() error {
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
