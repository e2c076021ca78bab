package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// objects are the kinds that the lab itself acts on; everything else in a folder is the controller's.
type objects struct {
	Namespaces  []*corev1.Namespace
	Deployments []*appsv1.Deployment
	Services    []*corev1.Service
	Pods        []*corev1.Pod
}

// reader reads folders again and again, and keeps a file's last good content while it is broken.
type reader struct {
	good map[string]objects // by file
}

func newReader() *reader { return &reader{good: map[string]objects{}} }

// read returns the objects of all folders, and what is wrong with their files. A folder that does not
// exist is empty.
func (r *reader) read(dirs ...string) (objects, error) {
	var all objects
	var problems []error
	seen := map[string]bool{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !isManifest(path) {
				return ignoreMissing(err)
			}
			seen[path] = true
			data, err := os.ReadFile(path)
			if err != nil {
				return ignoreMissing(err) // removed meanwhile
			}
			o, err := parse(data)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", path, err))
				o = r.good[path]
			}
			r.good[path] = o
			all.add(o)
			return nil
		})
		if err != nil {
			problems = append(problems, fmt.Errorf("read %s: %w", dir, err))
		}
	}
	for path := range r.good {
		if !seen[path] {
			delete(r.good, path)
		}
	}
	return all, errors.Join(problems...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func isManifest(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(filepath.Base(path), ".")
	}
	return false
}

func (o *objects) add(p objects) {
	o.Namespaces = append(o.Namespaces, p.Namespaces...)
	o.Deployments = append(o.Deployments, p.Deployments...)
	o.Services = append(o.Services, p.Services...)
	o.Pods = append(o.Pods, p.Pods...)
}

// parse decodes the documents of one file.
func parse(data []byte) (objects, error) {
	var o objects
	docs := yamlutil.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return o, nil
		}
		if err != nil {
			return objects{}, err
		}
		if err := o.decode(doc); err != nil {
			return objects{}, err
		}
	}
}

func (o *objects) decode(doc []byte) error {
	var t metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &t); err != nil {
		return err
	}
	switch t.APIVersion + "/" + t.Kind {
	case "v1/Namespace":
		return decodeInto(doc, &o.Namespaces)
	case "apps/v1/Deployment":
		return decodeInto(doc, &o.Deployments)
	case "v1/Service":
		return decodeInto(doc, &o.Services)
	case "v1/Pod":
		return decodeInto(doc, &o.Pods)
	}
	return nil
}

func decodeInto[T any, P interface {
	*T
	metav1.Object
}](doc []byte, list *[]P) error {
	obj := P(new(T))
	if err := yaml.Unmarshal(doc, obj); err != nil {
		return err
	}
	if obj.GetName() == "" {
		return errors.New("metadata.name is missing")
	}
	if _, cluster := any(obj).(*corev1.Namespace); !cluster && obj.GetNamespace() == "" {
		obj.SetNamespace("default")
	}
	*list = append(*list, obj)
	return nil
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
		if path := filepath.Join(dir, e.Name()); isManifest(path) && !wanted[path] {
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
