package source

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// merge joins the folders. Within one, the file that sorts first has an object that two have; an object of
// an earlier folder is completed by later ones.
func (d *Dir) merge() (*Objects, []Problem) {
	var problems []Problem
	all := map[key]entry{}
	for _, files := range d.files {
		own := map[key]entry{}
		for _, f := range inOrder(files) {
			for _, k := range sortedKeys(f.entries) {
				e := f.entries[k]
				first, twice := own[k]
				switch {
				case !twice || first.unread != "":
					own[k] = e
				case e.unread != "": // its problems say it
				case !f.fading(): // otherwise the object is being moved from f to the other file
					problems = append(problems, duplicate(e, first))
				}
			}
		}
		for k, e := range own {
			first, twice := all[k]
			if !twice || first.unread != "" {
				all[k] = e
				continue
			}
			if e.unread != "" {
				continue
			}
			first.object = complete(first.object, e.object)
			all[k] = first
		}
	}
	for k := range d.gens {
		if _, there := all[k]; !there {
			delete(d.gens, k)
		}
	}
	out := &Objects{}
	for _, k := range sortedKeys(all) {
		e := all[k]
		if e.unread != "" {
			out.Unread = append(out.Unread, e.asUnread())
			continue
		}
		e.kind.add(out, e.object, e.origin)
	}
	for _, k := range kinds {
		k.sort(out)
	}
	return out, problems
}

// inOrder sorts files by path, with those that lose objects behind the others.
func inOrder(files map[string]*file) []*file {
	var steady, fading []*file
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if f := files[path]; f.fading() {
			fading = append(fading, f)
		} else {
			steady = append(steady, f)
		}
	}
	return append(steady, fading...)
}

func sortedKeys(m map[key]entry) []key {
	return slices.SortedFunc(maps.Keys(m), func(a, b key) int {
		if a.kind != b.kind {
			return compare(a.kind, b.kind)
		}
		if a.namespace != b.namespace {
			return compare(a.namespace, b.namespace)
		}
		return compare(a.name, b.name)
	})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// complete returns what a person wrote with what the cluster adds. Neither argument is changed.
func complete(written, cluster metav1.Object) metav1.Object {
	switch w := written.(type) {
	case *corev1.Service:
		c := cluster.(*corev1.Service)
		if w.Spec.ClusterIP != "" || w.Spec.Type == corev1.ServiceTypeExternalName {
			return w
		}
		out := w.DeepCopy()
		out.Spec.ClusterIP, out.Spec.ClusterIPs = c.Spec.ClusterIP, c.Spec.ClusterIPs
		if len(out.Spec.IPFamilies) == 0 {
			out.Spec.IPFamilies = c.Spec.IPFamilies
		}
		return out
	case *corev1.Pod:
		c := cluster.(*corev1.Pod)
		out := w.DeepCopy()
		if out.UID == "" {
			out.UID = c.UID
		}
		if out.Spec.NodeName == "" {
			out.Spec.NodeName = c.Spec.NodeName
		}
		if out.DeletionTimestamp == nil {
			out.DeletionTimestamp = c.DeletionTimestamp
		}
		if len(out.OwnerReferences) == 0 {
			out.OwnerReferences = c.OwnerReferences
		}
		if out.Status.Phase == "" && len(out.Status.PodIPs) == 0 {
			out.Status = *c.Status.DeepCopy()
		}
		return out
	}
	return written
}
