package main

import (
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// logs is how far each log was read, and what was in it.
type logs struct {
	read     map[string]int64 // bytes, by path
	Lines    int
	Errors   map[string]int // lines at level error, by program
	Examples map[string]string
}

// bad begins or marks the lines that no program may ever write.
var bad = []string{"WARNING: DATA RACE", "panic: ", "fatal error: ", "runtime error: ", "SIGSEGV", "[signal "}

// maxLog is the size at which a log that was read is emptied, so that a long run does not fill the disk.
const maxLog = 32 << 20

// maxReport lines are kept of what a bad line begins.
const maxReport = 60

// readLogs reads what every program wrote since the last time.
func (s *soak) readLogs() {
	if s.logs.read == nil {
		s.logs.read, s.logs.Errors, s.logs.Examples = map[string]int64{}, map[string]int{}, map[string]string{}
	}
	for _, path := range s.logFiles() {
		if err := s.readLog(path); err != nil {
			s.finds.add("read a log: %v", err)
		}
	}
}

func (s *soak) logFiles() []string {
	paths := []string{s.lab.Path("supervisor.log")}
	_ = filepath.WalkDir(s.lab.Path("logs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return nil
	})
	return paths
}

func (s *soak) readLog(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(s.logs.read[path], io.SeekStart); err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1] // the rest of a line comes next time
	s.logs.read[path] += int64(len(whole))
	s.scan(strings.TrimSuffix(filepath.Base(path), ".log"), whole)
	if s.logs.read[path] > maxLog && len(whole) == len(data) {
		s.logs.read[path] = 0
		return os.Truncate(path, 0) // programs append, so they go on at its new end
	}
	return nil
}

// scan looks for what must not be there, and counts errors.
func (s *soak) scan(program string, data []byte) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	var report []string
	flush := func() {
		if report != nil {
			s.finds.add("log of %s:\n    %s", program, strings.Join(report, "\n    "))
			report = nil
		}
	}
	for lines.Scan() {
		line := lines.Text()
		s.logs.Lines++
		switch {
		case report != nil:
			report = append(report, line)
			if len(report) == maxReport || line == "==================" {
				flush()
			}
		case isBad(line):
			report = []string{line}
		case strings.Contains(line, `"level":"error"`) || strings.Contains(line, "\tERROR\t") || strings.Contains(line, "\terror\t"):
			s.logs.Errors[program]++
			s.logs.Examples[program] = line
		}
	}
	flush()
}

// isBad leaves out access logs, in which callers choose words.
func isBad(line string) bool {
	if strings.HasPrefix(line, "{") {
		return false
	}
	for _, b := range bad {
		if strings.Contains(line, b) {
			return true
		}
	}
	return false
}
