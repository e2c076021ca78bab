package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// maxEvidence is how much is kept of the end of each log.
const maxEvidence = 4 << 20

// keepEvidence saves what the lab's end would take away: the ends of all logs, and what each program's
// goroutines and heap are made of.
func (s *soak) keepEvidence(dir string) {
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	for _, path := range s.logFiles() {
		err = errors.Join(err, keepTail(path, filepath.Join(dir, filepath.Base(path))))
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

func keepTail(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := f.Seek(max(0, size-maxEvidence), io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}
