package kube

import (
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// witness watches the links during a test.
type witness struct {
	wire *harness.Wire
	out  string // folder for captures
}

// watch begins to watch what the pods of these namespaces send. On a cluster whose links are elsewhere it watches
// nothing and the test says so.
func watch(t *testing.T, e *harness.Env, namespaces ...string) witness {
	t.Helper()
	w, err := e.Watch(t.Context(), mark)
	if errors.Is(err, harness.ErrNoLinks) {
		t.Log("not watched for clear text:", err)
		return witness{}
	}
	must(t, err)
	for _, ns := range namespaces {
		pods, err := e.Pods(t.Context(), ns, "")
		must(t, err)
		for _, p := range pods {
			w.Member(p.Status.PodIP, p.Name)
		}
	}
	return witness{w, e.Out}
}

// judge fails the test if anything was in clear text, or if the tunnel was not used at all.
func (w witness) judge(t *testing.T) harness.WireReport {
	t.Helper()
	if w.wire == nil {
		return harness.WireReport{}
	}
	r, err := w.wire.Stop()
	must(t, err)
	for _, c := range r.Clear {
		t.Errorf("CLEAR TEXT on a link: %s", c)
	}
	for _, c := range r.NotTLS {
		t.Errorf("not TLS, to port 15008: %s", c)
	}
	file := filepath.Join(w.out, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+".pcap")
	if n, err := w.wire.KeepPast(file); n > 0 || err != nil {
		t.Logf("%d frames of pods of the mesh past the tunnel are in %s (%v)", n, file, err)
	}
	if r.Tunnel == 0 {
		t.Errorf("the tunnel was not used: %d frames on the links, but none to or from port 15008", r.Frames)
	}
	flows := make([]string, 0, len(r.Other))
	for f, n := range r.Other {
		flows = append(flows, fmt.Sprintf("%s (%d bytes)", f, n))
	}
	sort.Strings(flows)
	t.Logf("links: %d frames, %d bytes through the tunnel, %d handshakes, other TCP: %v", r.Frames, r.Tunnel, r.Hellos, flows)
	return r
}
