package index

import "slices"

// owners maps a key to whom it belongs, where usually there is one and sometimes several.
type owners[K comparable, V comparable] struct {
	lesser func(V) bool // gives way to those for which it is false
	first  map[K]V      // the one that a lookup finds
	rest   map[K][]V    // the others, latest last; absent where there are none
}

func newOwners[K comparable, V comparable](lesser func(V) bool) owners[K, V] {
	return owners[K, V]{lesser: lesser, first: map[K]V{}, rest: map[K][]V{}}
}

func (o *owners[K, V]) find(k K) V { return o.first[k] }

func (o *owners[K, V]) add(k K, v V) {
	old, ok := o.first[k]
	switch {
	case !ok:
		o.first[k] = v
	case old == v || slices.Contains(o.rest[k], v):
	case o.lesser(v) && !o.lesser(old):
		o.rest[k] = append(o.rest[k], v)
	default:
		o.first[k], o.rest[k] = v, append(o.rest[k], old)
	}
}

// replace moves what belonged to old to v, in old's rank among the owners of each key. keys and oldKeys have
// no duplicates to speak of; the zero V is no old owner.
func (o *owners[K, V]) replace(oldKeys []K, old V, keys []K, v V) {
	var none V
	for _, k := range keys {
		if old == none || o.lesser(old) != o.lesser(v) || !o.inPlace(k, old, v) {
			o.add(k, v)
		}
	}
	if old == none {
		return
	}
	for _, k := range oldKeys {
		o.remove(k, old) // where it still is
	}
}

func (o *owners[K, V]) inPlace(k K, old, v V) bool {
	if o.first[k] == old {
		o.first[k] = v
		return true
	}
	if i := slices.Index(o.rest[k], old); i >= 0 {
		o.rest[k][i] = v
		return true
	}
	return false
}

func (o *owners[K, V]) remove(k K, v V) {
	rest := o.rest[k]
	if o.first[k] != v {
		o.setRest(k, slices.DeleteFunc(rest, func(r V) bool { return r == v }))
		return
	}
	if len(rest) == 0 {
		delete(o.first, k)
		return
	}
	heir := len(rest) - 1
	for i := heir; i >= 0; i-- {
		if !o.lesser(rest[i]) {
			heir = i
			break
		}
	}
	o.first[k] = rest[heir]
	o.setRest(k, slices.Delete(rest, heir, heir+1))
}

func (o *owners[K, V]) setRest(k K, rest []V) {
	if len(rest) == 0 {
		delete(o.rest, k)
		return
	}
	o.rest[k] = rest
}
