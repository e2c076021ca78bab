package direct

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

// Forget takes addresses off the direct path of the node whose maps are pinned in folder root, with no agent and no
// program. The CNI plugin does so before an address is given to a pod, whoever that is, and before it is given back.
// Where nothing is pinned there is nothing to do.
func Forget(root string, addresses []netip.Addr) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(root, MapIdents), nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("addresses of the direct path: %w", err)
	}
	defer m.Close()
	var errs []error
	for _, a := range addresses {
		if err := m.Delete(a.As16()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("take address %v off the direct path: %w", a, err))
		}
	}
	return errors.Join(errs...)
}
