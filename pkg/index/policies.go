package index

import (
	"cmp"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// UpsertPolicy adds a policy or replaces the one with its key.
func (x *Index) UpsertPolicy(p *model.Policy) {
	if x.putPolicy(p.Key(), p) {
		tell(x.watch.policy, p.Key(), p)
	}
}

// RemovePolicy forgets a policy, and reports whether it was known. Workloads that still list it are
// refused everything until a newer version of them does not.
func (x *Index) RemovePolicy(key string) bool {
	known := x.putPolicy(key, nil)
	if known {
		tell(x.watch.policy, key, nil)
	}
	return known
}

func (x *Index) putPolicy(key string, p *model.Policy) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.policies[key]
	if old == p {
		return false
	}
	x.generation.Add(1)
	x.unbind(old)
	if p == nil {
		delete(x.policies, key)
		return true
	}
	x.policies[key] = p
	if ns, ok := breadth(p); ok {
		x.wide[ns] = append(x.wide[ns], p)
	}
	return true
}

// breadth is the key in wide of a policy that binds by its scope alone. One for a namespace that it does not
// name binds nothing: it must not become the mesh's.
func breadth(p *model.Policy) (string, bool) {
	switch p.Scope {
	case model.ScopeMesh:
		return "", true
	case model.ScopeNamespace:
		return p.Namespace, p.Namespace != ""
	}
	return "", false
}

func (x *Index) unbind(old *model.Policy) {
	if old == nil {
		return
	}
	key, ok := breadth(old)
	if !ok {
		return
	}
	list := slices.DeleteFunc(x.wide[key], func(p *model.Policy) bool { return p == old })
	if len(list) == 0 {
		delete(x.wide, key)
		return
	}
	x.wide[key] = list
}

// PolicyByKey finds a policy by namespace/name, nil if unknown.
func (x *Index) PolicyByKey(key string) *model.Policy {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.policies[key]
}

// PoliciesFor collects what binds a workload: the policies that it lists, its namespace's and the mesh's,
// each once, by key. missing are those that it lists but that are not known: while there are any, the
// workload has to refuse everything (policy.Missing).
func (x *Index) PoliciesFor(w *model.Workload) (list []*model.Policy, missing []string) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list = append(list, x.wide[""]...)
	if w.Namespace != "" {
		list = append(list, x.wide[w.Namespace]...)
	}
	for _, key := range w.Policies {
		if p := x.policies[key]; p != nil {
			list = append(list, p)
		} else if !slices.Contains(missing, key) {
			missing = append(missing, key)
		}
	}
	slices.SortFunc(list, func(a, b *model.Policy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(list), missing
}
