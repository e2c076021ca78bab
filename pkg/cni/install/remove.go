package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/weftmesh/weft/pkg/cni"
)

// Remove takes the plugin off the node: out of all configuration, then the binary, then what agent and plugin have
// left beside socket, the agent's as we see it. No Installer may run. As long as anything names the binary, it stays,
// since without it no pod could start.
func Remove(confDir, binDir, socket string) error {
	if err := sweep(confDir, binDir); err != nil {
		return err
	}
	d := folder(confDir)
	names, err := d.names()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, n := range names {
		if _, outErr := d.takeOut(n); outErr != nil {
			err = errors.Join(err, outErr)
		}
	}
	if err != nil {
		return fmt.Errorf("take %s out of the CNI configuration: %w (the binary stays until nothing names it; mend the file and do this again)", cni.PluginName, err)
	}
	log, state := cni.LogPath(socket), cni.StatePath(socket)
	var errs []error
	for _, path := range []string{filepath.Join(binDir, cni.PluginName), socket, state, state + ".tmp", log, log + ".1"} {
		errs = append(errs, remove(path))
	}
	return errors.Join(errs...)
}
