package source

// merged is what merge made, and which files have changed since. As long as there is one folder, no object is in two of
// its files, and none of the changed files has one that never was good, the lists are edited instead of being
// made anew.
type merged struct {
	objects *Objects      // nil: merge makes them
	holders map[key]*file // where each object is
	pairs   [][2]*file    // before and after; nil where there is no file
}

// replace notes that a file has taken the place of another.
func (m *merged) replace(before, after *file) {
	if m.objects != nil {
		m.pairs = append(m.pairs, [2]*file{before, after})
	}
}

// forget has merge make everything anew.
func (m *merged) forget() { *m = merged{} }

// join returns all objects.
func (d *Dir) join() (*Objects, []Problem) {
	if d.last.edit(d.gens) {
		out := *d.last.objects
		return &out, nil
	}
	d.last.forget()
	objects, problems := d.merge()
	if len(d.files) == 1 && len(problems) == 0 && len(objects.Unread) == 0 {
		d.last.remember(objects, d.files[0])
	}
	out := *objects
	return &out, problems
}

// remember keeps what was merged, unless an object is in two files.
func (m *merged) remember(o *Objects, files map[string]*file) {
	holders := map[key]*file{}
	for _, f := range files {
		for k := range f.entries {
			if holders[k] != nil {
				return
			}
			holders[k] = f
		}
	}
	m.objects, m.holders = o, holders
}

// edit brings the objects up to date with the files that have changed; false where that does not do. Generations of
// objects that are gone are forgotten.
func (m *merged) edit(gens map[key]generation) bool {
	if m.objects == nil {
		return false
	}
	edits := map[string]map[key]Edit{} // by kind
	put := func(k key, e Edit) {
		if edits[k.kind] == nil {
			edits[k.kind] = map[key]Edit{}
		}
		edits[k.kind][k] = e
	}
	for _, p := range m.pairs {
		if before := p[0]; before != nil {
			for k := range before.entries {
				if m.holders[k] != before {
					return false
				}
				delete(m.holders, k)
				put(k, Edit{Namespace: k.namespace, Name: k.name})
			}
		}
		if after := p[1]; after != nil {
			for k, e := range after.entries {
				if m.holders[k] != nil || e.unread != "" {
					return false
				}
				m.holders[k] = after
				put(k, Edit{k.namespace, k.name, e.object, e.origin})
			}
		}
	}
	next := *m.objects
	for kind, of := range edits {
		list := make([]Edit, 0, len(of))
		for k, e := range of {
			if list = append(list, e); e.Object == nil {
				delete(gens, k)
			}
		}
		next.Patch(kind, list)
	}
	m.objects, m.pairs = &next, nil
	return true
}
