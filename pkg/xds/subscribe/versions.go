package subscribe

import "iter"

// versions are those of resources, by name. Versions of Weft's controller are 16 bytes and are kept without a string
// each, for there are as many as workloads.
type versions struct {
	short map[string][16]byte
	other map[string]string
}

func newVersions() *versions {
	return &versions{short: map[string][16]byte{}, other: map[string]string{}}
}

func (v *versions) set(name, version string) {
	if len(version) == 16 {
		delete(v.other, name)
		v.short[name] = [16]byte([]byte(version))
		return
	}
	delete(v.short, name)
	v.other[name] = version
}

func (v *versions) has(name string) bool {
	if _, ok := v.short[name]; ok {
		return true
	}
	_, ok := v.other[name]
	return ok
}

func (v *versions) remove(name string) {
	delete(v.short, name)
	delete(v.other, name)
}

func (v *versions) all() iter.Seq2[string, string] {
	return func(yield func(name, version string) bool) {
		for name, version := range v.short {
			if !yield(name, string(version[:])) {
				return
			}
		}
		for name, version := range v.other {
			if !yield(name, version) {
				return
			}
		}
	}
}
