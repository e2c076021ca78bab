package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func record() *Record {
	return &Record{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Duration: 1500 * time.Microsecond, Direction: "outbound",
		Source:  End{Address: netip.MustParseAddrPort("10.0.0.1:4000"), Identity: "spiffe://cluster.local/ns/shop/sa/frontend", Workload: "shop/frontend-1"},
		Dest:    End{Address: netip.MustParseAddrPort("[fd00::2]:8080"), Workload: "shop/cart-1"},
		Service: "cart.shop.svc.cluster.local", Host: netip.MustParseAddrPort("10.96.0.5:80"), Security: SecurityMutualTLS,
		Flags: FlagDenied, Sent: 12, Received: 34, Policy: "shop/only-cart", DryRun: []string{"a/b", "c/d"},
		Cause: "refused \"by\" policy\n", Hint: "look", Retries: 2, Trace: "0af7651916cd43dd8448eb211c80319c",
	}
}

func write(t *testing.T, l *AccessLog) {
	t.Helper()
	l.Write(record())
	if !l.Flush(10 * time.Second) {
		t.Fatal("not written")
	}
}

func TestJSONIsValidAndComplete(t *testing.T) {
	var out bytes.Buffer
	write(t, NewAccessLog(&out, FormatJSON))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	for k, want := range map[string]any{
		"time": "2026-01-02T03:04:05.006Z", "direction": "outbound", "src_addr": "10.0.0.1:4000", "dst_addr": "[fd00::2]:8080",
		"src_identity": "spiffe://cluster.local/ns/shop/sa/frontend", "security": "mutual_tls", "bytes_sent": 12.0, "bytes_received": 34.0,
		"duration_ms": 1.5, "flags": "UAEX", "policy": "shop/only-cart", "dry_run": "a/b,c/d", "cause": "refused \"by\" policy\n", "hint": "look",
		"dst_dialled": "10.96.0.5:80", "retries": 2.0, "trace_id": "0af7651916cd43dd8448eb211c80319c",
	} {
		if got[k] != want {
			t.Errorf("%s = %v, want %v", k, got[k], want)
		}
	}
}

func TestTextIsOneLine(t *testing.T) {
	var out bytes.Buffer
	write(t, NewAccessLog(&out, FormatText))
	want := `2026-01-02T03:04:05.006Z outbound 10.0.0.1:4000(shop/frontend-1 spiffe://cluster.local/ns/shop/sa/frontend) -> ` +
		`[fd00::2]:8080(shop/cart-1) dialled=10.96.0.5:80 service=cart.shop.svc.cluster.local security=mutual_tls sent=12 received=34 ` +
		`duration=1.5ms flags=UAEX retries=2 policy=shop/only-cart dry_run=a/b,c/d cause="refused \"by\" policy\n" hint=look trace_id=0af7651916cd43dd8448eb211c80319c` + "\n"
	if out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFullDiskLosesLinesOnly(t *testing.T) {
	l := NewAccessLog(fullDisk{}, FormatJSON)
	write(t, l)
	if l.Lost() != 1 {
		t.Errorf("lost = %d", l.Lost())
	}
	off := NewAccessLog(fullDisk{}, FormatOff)
	off.Write(record())
	if off.Lost() != 0 {
		t.Error("a log that is off writes")
	}
}

func TestParseFormat(t *testing.T) {
	if _, err := ParseFormat("yaml"); err == nil || !strings.Contains(err.Error(), "json, text or off") {
		t.Errorf("err = %v", err)
	}
}

func BenchmarkJSON(b *testing.B) {
	l := NewAccessLog(discard{}, FormatJSON)
	r := record()
	r.Cause = ""
	b.ReportAllocs()
	for b.Loop() {
		l.Write(r)
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// stuck is a reader that has stopped reading.
type stuck struct{ release chan struct{} }

func (s stuck) Write(b []byte) (int, error) { <-s.release; return len(b), nil }

func TestStuckReaderHoldsUpNobody(t *testing.T) {
	s := stuck{make(chan struct{})}
	l := NewAccessLog(s, FormatJSON)
	n := 0
	for l.Lost() == 0 {
		l.Write(record())
		if n++; n > 1e6 {
			t.Fatal("lines are kept without bound")
		}
	}
	if l.Flush(time.Millisecond) {
		t.Error("flushed into a stuck reader")
	}
	close(s.release)
	if !l.Flush(10 * time.Second) {
		t.Error("not flushed")
	}
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	var out bytes.Buffer // one flush at a time writes to it
	l := NewAccessLog(&out, FormatJSON)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				l.Write(record())
			}
		})
	}
	wg.Wait()
	l.Flush(10 * time.Second)
	n := 0
	for line := range bytes.Lines(out.Bytes()) {
		if !json.Valid(line) {
			t.Fatalf("%s", line)
		}
		n++
	}
	if n != 1600 || l.Lost() != 0 {
		t.Errorf("%d lines, %d lost", n, l.Lost())
	}
}
