package source

import (
	"cmp"
	"slices"
	"time"
)

// file is one file as it was last read.
type file struct {
	stamp    stamp
	entries  map[key]entry // in force: of the file as it is, or the last good ones
	problems []Problem
	since    time.Time // when objects in force were first found missing from the file; zero when none is
}

// fading reports whether objects in force are missing from the file.
func (f *file) fading() bool { return !f.since.IsZero() }

// lacks reports whether an object of before is not in f.
func (f *file) lacks(before *file) bool {
	for k := range before.entries {
		if _, there := f.entries[k]; !there {
			return true
		}
	}
	return false
}

// readFile decodes a file's content. What is broken in it stays as it was in before, which may be nil.
func readFile(path string, data []byte, before *file) *file {
	f := &file{entries: map[key]entry{}}
	broken, unnamed := map[key]bool{}, false
	for _, doc := range split(path, data) {
		d := doc.decode()
		f.problems = append(f.problems, d.problems...)
		for _, k := range d.broken {
			broken[k] = true
		}
		unnamed = unnamed || d.unnamed
		for _, e := range d.entries {
			first, twice := f.entries[e.key]
			if twice && first.unread != "" {
				twice = false
			} else if twice && e.unread != "" {
				continue // its problems say it
			}
			if twice {
				f.problems = append(f.problems, duplicate(e, first))
				continue
			}
			f.entries[e.key] = e
		}
	}
	kept := map[key]bool{}
	if before != nil {
		for k, e := range before.entries {
			if now, there := f.entries[k]; (!there || now.unread != "" && e.unread == "") && (broken[k] || unnamed) {
				f.entries[k] = e
				if e.unread == "" {
					kept[k] = true
				}
			}
		}
	}
	for i, p := range f.problems {
		k := key{p.Kind, p.Namespace, p.Name}
		f.problems[i].LastGood = kept[k] || p.Name == "" && len(kept) > 0
	}
	return f
}

// unreadable keeps what a file held.
func unreadable(path string, err error, before *file) *file {
	f := &file{entries: map[key]entry{}}
	if before != nil {
		f.entries = before.entries
	}
	f.problems = []Problem{{
		Severity: Error, File: path, Message: "cannot be read: " + err.Error(), Suggestion: "look at its permissions; it is tried again",
		LastGood: len(f.entries) > 0,
	}}
	return f
}

func duplicate(e, first entry) Problem {
	return Problem{
		Severity: Error, File: e.origin.File, Line: e.origin.Line, Column: 1,
		Kind: e.key.kind, Namespace: e.key.namespace, Name: e.key.name,
		Message: "there is another object of this kind and name at " + first.origin.String() + ", which is the one in force", Suggestion: "remove or rename one of them",
	}
}

func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
}
