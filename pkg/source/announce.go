package source

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// announced is an announcement with its file's version.
type announced struct {
	pod  string // namespace/name
	size int64
	mod  time.Time
	what Announcement
}

// announcements reads what agents said. What cannot be read stays as it last was and is read again at the
// next look: taken for nothing said, it would have traffic to a captured pod sent in plain text.
func (d *Dir) announcements(dirty map[string]bool) (map[string]Announcement, []Problem) {
	if d.o.StatusDir == "" {
		return map[string]Announcement{}, nil
	}
	dir := d.podsDir()
	files, err := os.ReadDir(dir)
	if ignoreMissing(err) != nil {
		d.unread(err)
		return d.inForce(), []Problem{{
			Severity: Error, File: dir, Message: "cannot be listed: " + err.Error(), Suggestion: "look at its permissions; it is tried again", LastGood: len(d.said) > 0,
		}}
	}
	var problems []Problem
	seen := map[string]bool{}
	for _, e := range files {
		ns, name, ok := strings.Cut(strings.TrimSuffix(e.Name(), ".json"), "_")
		if !ok || filepath.Ext(e.Name()) != ".json" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			continue
		}
		seen[path] = true
		a, known := d.said[path]
		if !known || dirty[path] || a.size != info.Size() || !a.mod.Equal(info.ModTime()) {
			next := announced{pod: ns + "/" + name, size: info.Size(), mod: info.ModTime()}
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &next.what)
			}
			if err != nil {
				d.unread(err)
				next = announced{pod: next.pod, size: -1, what: a.what}
				problems = append(problems, Problem{Severity: Error, File: path, Message: "cannot be read: " + err.Error(), Suggestion: "it is tried again", LastGood: known})
			}
			d.said[path] = next
			d.reads++
		}
	}
	for path := range d.said {
		if !seen[path] {
			delete(d.said, path)
			d.reads++
		}
	}
	return d.inForce(), problems
}

// inForce lists what was last said of each pod.
func (d *Dir) inForce() map[string]Announcement {
	out := make(map[string]Announcement, len(d.said))
	for _, a := range d.said {
		out[a.pod] = a.what
	}
	return out
}

func (d *Dir) podsDir() string { return filepath.Join(d.o.StatusDir, "pods") }
