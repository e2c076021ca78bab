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
	size int64
	mod  time.Time
	what Announcement
}

// announcements reads what agents said. A file that is half written is read again at the next change.
func (d *Dir) announcements(dirty map[string]bool) map[string]Announcement {
	out := map[string]Announcement{}
	if d.o.StatusDir == "" {
		return out
	}
	dir := d.podsDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		return out
	}
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
			a = announced{size: info.Size(), mod: info.ModTime()}
			data, err := os.ReadFile(path)
			if err != nil || json.Unmarshal(data, &a.what) != nil {
				a = announced{size: -1}
			}
			d.said[path] = a
			d.reads++
		}
		out[ns+"/"+name] = a.what
	}
	for path := range d.said {
		if !seen[path] {
			delete(d.said, path)
			d.reads++
		}
	}
	return out
}

func (d *Dir) podsDir() string { return filepath.Join(d.o.StatusDir, "pods") }
