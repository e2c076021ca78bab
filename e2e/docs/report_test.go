package docs

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path"
	"regexp"
	"testing"
)

// reportFile is where operate.md has the report written.
const reportFile = "/tmp/weft-report.tar.gz"

var secret = regexp.MustCompile(`PRIVATE KEY|eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}`)

// judgeReport wants every program's pages and logs in the report of a running mesh, and no key or token.
func judgeReport(t *testing.T) {
	t.Helper()
	f, err := os.Open(reportFile)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	must(t, err)
	sizes := map[string]int{}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		sizes[path.Base(h.Name)] += len(text)
		if found := secret.Find(text); found != nil {
			t.Errorf("%s holds %.40q", h.Name, found)
		}
	}
	for _, name := range []string{
		"check.json", "versions.json", "pods.yaml", "events.yaml", "namespaces.yaml", "debug-snapshot.json", "debug-status.json",
		"config_dump.json", "certificates.json", "pods.json", "counters.json", "metrics.txt", "weft-controller.log", "weft-agent.log", "weft-ztunnel.log",
	} {
		if sizes[name] == 0 {
			t.Errorf("the report lacks %s, or it is empty", name)
		}
	}
}
