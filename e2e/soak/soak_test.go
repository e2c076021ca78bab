package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/soak/calls"
	"github.com/weftmesh/weft/pkg/lab"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

// The examples are what people read and may change: every edit of ours has to find its place.
func TestManifestsCanBeEdited(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := newSoak(options{name: "test"})
	must(t, err)
	payments := read(t, filepath.Join(s.manifests, "payments.yaml"))
	if !strings.Contains(payments[strings.Index(payments, "kind: Service\n"):], "use-waypoint: none") {
		t.Errorf("payments is reached through the waypoint:\n%s", payments)
	}
	must(t, s.edit("payments-callers.yaml", "sa/cart]", "sa/cart, cluster.local/ns/shop/sa/guest]"))
	if err := s.edit("payments-callers.yaml", "not there", ""); err == nil {
		t.Error("an edit of what is not there succeeded")
	}
	for _, r := range rolled {
		data, err := manifest(r.file, map[string]int{r.deployment: 7})
		must(t, err)
		if n := strings.Count(string(data), annotationRoll+`: "7"`); n != 1 {
			t.Errorf("%s: %d templates are changed, want 1:\n%s", r.deployment, n, data)
		}
	}
}

func TestScanFindsRaces(t *testing.T) {
	s := &soak{finds: &findings{}}
	s.logs.Errors, s.logs.Examples = map[string]int{}, map[string]string{}
	s.scan("ztunnel-n1", []byte("2026-11-21T10:00:00Z\tinfo\tstarted\n"+`{"path":"/?q=panic: fatal error: "}`+"\n"))
	if s.finds.count() != 0 || s.logs.Lines != 2 {
		t.Fatalf("%q", s.finds.list())
	}
	s.scan("ztunnel-n1", []byte("==================\nWARNING: DATA RACE\nRead at 0x1 by goroutine 7:\n==================\nmore\npanic: oh\n\ngoroutine 1 [running]:\n"))
	found := s.finds.list()
	if len(found) != 2 || !strings.Contains(found[0], "by goroutine 7") || !strings.Contains(found[1], "goroutine 1 [running]") || strings.Contains(found[0], "more") {
		t.Errorf("%q", found)
	}
	s.scan("agent-n1", []byte(`{"level":"error","msg":"cannot"}`+"\n"))
	if s.logs.Errors["agent-n1"] != 1 {
		t.Errorf("%v", s.logs.Errors)
	}
}

// A log is read once, line by line, and emptied when it is long; its writer goes on.
func TestReadLogGoesOn(t *testing.T) {
	s := &soak{finds: &findings{}}
	s.logs.read, s.logs.Errors = map[string]int64{}, map[string]int{}
	path := filepath.Join(t.TempDir(), "a.log")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	write := func(text string) {
		_, err := f.WriteString(text)
		must(t, err)
		must(t, s.readLog(path))
	}
	write("one\ntwo\nthr")
	write("ee\n")
	if s.logs.Lines != 3 {
		t.Errorf("%d lines", s.logs.Lines)
	}
	write(strings.Repeat(strings.Repeat("x", 1023)+"\n", maxLog>>10))
	if st, err := f.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("the log was not emptied: %v", err)
	}
	write("panic: after all\n")
	if s.finds.count() != 1 {
		t.Errorf("%q", s.finds.list())
	}
	if err := s.readLog(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such log: %v", err)
	}
}

func TestFailuresAreHeldAgainstEvents(t *testing.T) {
	began := time.Unix(1000, 0)
	at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
	s := &soak{finds: &findings{}, began: began, lab: lab.Layout{Name: "none", Nodes: 1}}
	s.life.events = []*event{
		{What: "restart", From: at(10), To: at(20), Excuses: true, Allowed: 3},
		{What: "edit", From: at(30), To: at(40)},
		{What: "roll", From: at(18), To: at(25), Excuses: true},
	}
	fail := func(since, until float64) calls.Failure {
		return calls.Failure{Since: at(since), At: at(until), Kind: "get", Error: "reset"}
	}
	s.calls.add(calls.Tally{Failures: []calls.Failure{fail(9, 11), fail(15, 50), fail(19, 21)}})
	s.calls.add(calls.Tally{Failures: []calls.Failure{fail(5, 9), fail(32, 33), fail(26, 27)}})
	if excused := s.judgeCalls(); excused != 3 || s.life.events[0].Failures != 1 || s.life.events[2].Failures != 2 {
		t.Errorf("%d excused: %+v %+v", excused, s.life.events[0], s.life.events[2])
	}
	if n := s.finds.count(); n != 3 {
		t.Errorf("%d unexpected: %q", n, s.finds.list())
	}
	s.judgeEvents()
	if !strings.Contains(strings.Join(s.finds.list(), "\n"), "roll at 18 s: 2 calls failed, at most 0 may") {
		t.Errorf("%q", s.finds.list())
	}
}

func TestFaultHasToDraw(t *testing.T) {
	for _, c := range []struct{ ok, faulted, problems int }{{700, 300, 0}, {1000, 0, 1}, {500, 500, 1}, {0, 0, 1}} {
		s := &soak{finds: &findings{}}
		s.calls.add(calls.Tally{Outcomes: map[string]map[string]int{"catalog, HTTP": {calls.OK: c.ok, calls.Faulted: c.faulted}}})
		if s.judgeFault(); s.finds.count() != c.problems {
			t.Errorf("%+v: %q", c, s.finds.list())
		}
	}
}

func TestCertificatesHaveToBeRenewed(t *testing.T) {
	s := &soak{finds: &findings{}, o: options{length: 5 * time.Minute, ttl: 2 * time.Minute}}
	for _, serial := range []string{"", "1", "2", "2", "3"} {
		s.certs.note("shop/cart on n1", serial)
	}
	if n := s.judgeCertificates()["shop/cart on n1"]; n != 3 || s.finds.count() != 0 {
		t.Errorf("%d: %q", n, s.finds.list())
	}
	s.certs.note("shop/catalog on n1", "9")
	if s.judgeCertificates(); s.finds.count() != 1 {
		t.Errorf("%q", s.finds.list())
	}
}

func TestCountSockets(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "sockstat"), []byte("sockets: used 9\nTCP: inuse 3 orphan 0 tw 5 alloc 99 mem 4\nUDP: inuse 2 mem 1\nUDPLITE: inuse 7\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "sockstat6"), []byte("TCP6: inuse 4\nUDP6: inuse 1\n"), 0o600))
	if n, err := countSockets(dir); err != nil || n != (sockets{tcp: 7, timeWait: 5, udp: 3}) {
		t.Errorf("%+v %v", n, err)
	}
}
