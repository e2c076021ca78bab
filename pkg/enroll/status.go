package enroll

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/weftmesh/weft/pkg/api"
)

// StatusWriter tells the rest of the mesh which pods are captured. Both calls may be repeated.
type StatusWriter interface {
	Announce(Pod) error
	// Withdraw takes back what was announced of the pod with this UID, if anything was, also by a
	// predecessor; what was announced of a later pod of the same name stays.
	Withdraw(uid string) error
}

// DirStatus announces by files: <dir>/pods/<namespace>_<name>.json, each with the annotation's value
// and the pod's UID.
type DirStatus struct {
	dir string

	mu sync.Mutex // files are changed under it
}

type announcement struct {
	Redirection string `json:"redirection"`
	UID         string `json:"uid"`
}

// NewDirStatus writes below dir, which is made if need be.
func NewDirStatus(dir string) *DirStatus { return &DirStatus{dir: filepath.Join(dir, "pods")} }

func (d *DirStatus) file(p Pod) string { return filepath.Join(d.dir, p.Namespace+"_"+p.Name+".json") }

// Announce implements StatusWriter. Readers see the old file or the whole new one.
func (d *DirStatus) Announce(p Pod) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := d.file(p)
	if strings.ContainsAny(p.Namespace+p.Name, "/\x00") {
		return fmt.Errorf("announce pod %s: not a name for a file", p.Key())
	}
	b, err := json.Marshal(announcement{Redirection: api.RedirectionEnabled, UID: p.UID})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("announce pod %s: %w", p.Key(), err)
	}
	tmp := filepath.Join(d.dir, "."+filepath.Base(path)+".tmp")
	err = os.WriteFile(tmp, append(b, '\n'), 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("announce pod %s: %w", p.Key(), err), ignoreMissing(os.Remove(tmp)))
	}
	return nil
}

// Withdraw implements StatusWriter.
func (d *DirStatus) Withdraw(uid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	files, err := os.ReadDir(d.dir)
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		path := filepath.Join(d.dir, f.Name())
		b, err := os.ReadFile(path)
		var a announcement
		if err != nil || json.Unmarshal(b, &a) != nil || a.UID != uid {
			continue
		}
		errs = append(errs, ignoreMissing(os.Remove(path)))
	}
	return errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
