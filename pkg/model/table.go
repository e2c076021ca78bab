package model

import (
	"encoding/json"
	"hash/maphash"
	"iter"
	"maps"
	"slices"
)

// Table is a map by name of which a copy with a few changes costs what the changes cost, however large it is: the copy
// shares with it all but the parts where something differs. The zero value is empty and may be used.
//
// Who builds a table Sets and Deletes. From With or Clone on, or once others have it, a table is not changed any more.
type Table[V any] struct {
	parts []map[string]V // by the hash of the name; nil while the table is empty
	size  int
}

// tableParts is how many parts a table has: with 100,000 entries a part has a hundred.
const tableParts = 1 << 10

var tableSeed = maphash.MakeSeed()

func partOf(name string) int { return int(maphash.String(tableSeed, name) % tableParts) }

// Len is the number of entries.
func (t Table[V]) Len() int { return t.size }

// Get returns an entry; V's zero value where there is none.
func (t Table[V]) Get(name string) V {
	v, _ := t.Find(name)
	return v
}

// Find returns an entry, and whether there is one.
func (t Table[V]) Find(name string) (V, bool) {
	if t.parts == nil {
		var none V
		return none, false
	}
	v, ok := t.parts[partOf(name)][name]
	return v, ok
}

// All visits the entries in no order.
func (t Table[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, part := range t.parts {
			for name, v := range part {
				if !yield(name, v) {
					return
				}
			}
		}
	}
}

// Names are sorted.
func (t Table[V]) Names() []string {
	out := make([]string, 0, t.size)
	for name := range t.All() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Sorted lists the entries in the order of their names.
func (t Table[V]) Sorted() []V {
	names := t.Names()
	out := make([]V, len(names))
	for i, name := range names {
		out[i] = t.Get(name)
	}
	return out
}

// Set puts an entry.
func (t *Table[V]) Set(name string, v V) {
	if t.parts == nil {
		t.parts = make([]map[string]V, tableParts)
	}
	i := partOf(name)
	if t.parts[i] == nil {
		t.parts[i] = map[string]V{}
	}
	before := len(t.parts[i])
	t.parts[i][name] = v
	t.size += len(t.parts[i]) - before
}

// Delete removes an entry, if it is there.
func (t *Table[V]) Delete(name string) {
	if _, there := t.Find(name); !there {
		return
	}
	i := partOf(name)
	delete(t.parts[i], name)
	t.size--
}

// With is the table with some entries set and others gone. t stays as it is.
func (t Table[V]) With(set map[string]V, gone ...string) Table[V] {
	out := Table[V]{parts: make([]map[string]V, tableParts), size: t.size}
	copy(out.parts, t.parts)
	own := map[int]bool{}
	touch := func(name string) {
		if i := partOf(name); !own[i] {
			own[i], out.parts[i] = true, maps.Clone(out.parts[i])
		}
	}
	for _, name := range gone {
		touch(name)
		out.Delete(name)
	}
	for name, v := range set {
		touch(name)
		out.Set(name, v)
	}
	return out
}

// Clone shares nothing with t but the entries themselves.
func (t Table[V]) Clone() Table[V] {
	out := Table[V]{parts: slices.Clone(t.parts), size: t.size}
	for i, part := range out.parts {
		out.parts[i] = maps.Clone(part)
	}
	return out
}

// MarshalJSON writes what a map would.
func (t Table[V]) MarshalJSON() ([]byte, error) {
	return json.Marshal(maps.Collect(t.All()))
}

// UnmarshalJSON reads what a map would.
func (t *Table[V]) UnmarshalJSON(data []byte) error {
	var m map[string]V
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	*t = Table[V]{}
	for name, v := range m {
		t.Set(name, v)
	}
	return nil
}
