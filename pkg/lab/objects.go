package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/source"
)

// objects are the kinds that the lab itself acts on; everything else in a folder is the controller's. They
// are shared with others and not to be changed.
type objects struct {
	Namespaces  []*corev1.Namespace
	Deployments []*appsv1.Deployment
	Services    []*corev1.Service
	Pods        []*corev1.Pod
}

// pick takes out what the lab acts on.
func pick(o *source.Objects) objects {
	return objects{values(o.Namespaces), values(o.Deployments), values(o.Services), values(o.Pods)}
}

func values[T any](list []source.Object[T]) []*T {
	out := make([]*T, len(list))
	for i, o := range list {
		out[i] = o.Value
	}
	return out
}

// look reads folders once. Ones that do not exist are empty.
func look(dirs ...string) (objects, error) {
	d, err := source.Open(source.Options{Dirs: dirs})
	if err != nil {
		return objects{}, err
	}
	d.Load() // a file that was renamed over while the folder was listed may be missing: look twice
	all, problems := d.Load()
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = errors.New(p.String())
	}
	return pick(all), errors.Join(errs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeObject writes v as YAML by a rename, so that readers see the old file or the new one. It leaves
// an unchanged file alone.
func writeObject(path string, v any) error {
	data, err := yaml.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, data)
}

func writeFile(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}

func objectFile(dir, namespace, name string) string {
	return filepath.Join(dir, namespace+"_"+name+".yaml")
}

// prune removes the manifests of a folder that are not wanted (by path).
func prune(dir string, wanted map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); strings.HasSuffix(path, ".yaml") && !strings.HasPrefix(e.Name(), ".") && !wanted[path] {
			errs = append(errs, ignoreMissing(os.Remove(path)))
		}
	}
	return errors.Join(errs...)
}

func sortByName[P metav1.Object](list []P) {
	sort.Slice(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.GetNamespace() != b.GetNamespace() {
			return a.GetNamespace() < b.GetNamespace()
		}
		return a.GetName() < b.GetName()
	})
}
