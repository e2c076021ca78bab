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

// refresh reads the ids anew. found is false while one of the folders does not exist.
func (k *kubelet) refresh() (found bool, err error) {
	var ids []uint64
	found = true
	for _, path := range k.paths {
		id, err := bpf.CgroupID(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			found = false
			if !k.known || len(k.ids) > 0 {
				k.log.Warn("the kubelet has no cgroup (yet): its probes are treated as plain text", zap.String("cgroup", path))
			}
		case err != nil:
			return false, fmt.Errorf("--kubelet-cgroup: %w", err)
		default:
			ids = append(ids, id)
		}
	}
	if k.known && slices.Equal(ids, k.ids) {
		return found, nil
	}
	if err := k.set(ids...); err != nil {
		return false, fmt.Errorf("--kubelet-cgroup: %w", err)
	}
	k.ids, k.known = ids, true
	return found, nil
}
