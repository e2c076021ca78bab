package source

import (
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reading is what became of one object that was read by Read.
type Reading struct {
	// Object as it was written; nil where it cannot be used.
	Object metav1.Object
	// Unread, where there is no Object: what is certain of a policy all the same.
	Unread *Unread
	// Problems say what is wrong.
	Problems []Problem
}

// Read reads one object, in JSON or YAML, as strictly as one of a folder. At is where it comes from. Of
// kinds that are none of ours everything in the result is nil.
func Read(at string, data []byte) Reading {
	d := (&document{file: at, text: data}).decode()
	out := Reading{Problems: d.problems}
	for _, e := range d.entries {
		if e.unread == "" {
			out.Object = e.object
			continue
		}
		u := e.asUnread()
		u.Origin = Origin{File: at}
		out.Unread = &u
	}
	// Lines and columns are those of a file that nobody wrote.
	for i := range out.Problems {
		out.Problems[i].Line, out.Problems[i].Column = 0, 0
	}
	return out
}

// Add puts an object into the list of its kind; false for a type that has none. Lists are sorted by Sort.
func (o *Objects) Add(v metav1.Object, at Origin) bool {
	t := reflect.TypeOf(v).Elem()
	for _, k := range kinds {
		if k.typ == t {
			k.add(o, v, at)
			return true
		}
	}
	return false
}

// Sort brings every list into its order.
func (o *Objects) Sort() {
	for _, k := range kinds {
		k.sort(o)
	}
}
