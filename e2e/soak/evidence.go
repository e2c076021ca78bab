package main

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// keepEvidence saves what the lab's end would take away: all logs, and what each program's
// goroutines and heap are made of.
func (s *soak) keepEvidence(dir string) {
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	for _, path := range s.logFiles() {
		err = errors.Join(err, keepLog(path, filepath.Join(dir, filepath.Base(path)+".gz")))
	}
	for _, src := range s.sources() {
		if src.dial == nil {
			continue
		}
		for _, profile := range []string{"goroutine", "heap"} {
			page, pageErr := get(src.dial, "/debug/pprof/"+profile+"?debug=1")
			if pageErr != nil {
				continue // not every program has profiles
			}
			text, _ := io.ReadAll(page)
			page.Close()
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, strings.ReplaceAll(src.name, "/", "-")+"."+profile), text, 0o644))
		}
	}
	if err != nil {
		s.say("could not keep all of the evidence in %s: %v", dir, err)
		return
	}
	s.say("logs and profiles are in %s", dir)
}

// keepLog saves a whole log, compressed: what led to a failure is not at its end.
func keepLog(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	return errors.Join(err, z.Close(), out.Close())
}
