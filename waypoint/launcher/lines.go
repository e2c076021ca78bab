package launcher

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/telemetry"
)

// lineLog writes one line for each request and TCP connection. A nil lineLog writes nothing.
type lineLog struct {
	format telemetry.Format

	mu sync.Mutex // whole lines
	w  io.Writer
}

func newLineLog(w io.Writer, f telemetry.Format) *lineLog {
	if f == telemetry.FormatOff {
		return nil
	}
	return &lineLog{w: w, format: f}
}

// line is a log line; empty fields are left out.
type line struct {
	Time      time.Time `json:"time"`
	Protocol  string    `json:"protocol"`
	Method    string    `json:"method,omitempty"`
	Host      string    `json:"host,omitempty"`
	Path      string    `json:"path,omitempty"`
	Code      uint32    `json:"response_code,omitempty"`
	GRPC      string    `json:"grpc_status,omitempty"`
	Flags     string    `json:"flags"`
	Details   string    `json:"details,omitempty"`
	Failure   string    `json:"failure,omitempty"`
	Duration  float64   `json:"duration_ms"`
	Sent      uint64    `json:"bytes_sent"`
	Received  uint64    `json:"bytes_received"`
	Attempts  uint32    `json:"attempts,omitempty"`
	SrcAddr   string    `json:"src_addr,omitempty"`
	SrcName   string    `json:"src_workload,omitempty"`
	SrcID     string    `json:"src_identity,omitempty"`
	Dialled   string    `json:"dst_dialled,omitempty"`
	Service   string    `json:"dst_service,omitempty"`
	DstAddr   string    `json:"dst_addr,omitempty"`
	DstName   string    `json:"dst_workload,omitempty"`
	DstID     string    `json:"dst_identity,omitempty"`
	DstSec    string    `json:"dst_security,omitempty"`
	Route     string    `json:"route,omitempty"`
	RequestID string    `json:"request_id,omitempty"`
	DryRun    []string  `json:"dry_run,omitempty"`
}

func newLine(e *entry) line {
	l := line{
		Time: e.time.UTC(), Protocol: e.protocol, Method: e.method, Host: e.host, Path: e.path, Code: e.code, GRPC: e.grpc,
		Flags: e.flags, Details: e.details, Failure: e.failure, Duration: float64(e.duration.Microseconds()) / 1000,
		Sent: e.sent, Received: e.received, Attempts: e.attempts,
		SrcName: pair(e.source.Namespace, e.source.Workload), SrcID: e.source.Principal,
		Dialled: e.dst, Service: e.service, DstName: pair(e.dest.Namespace, e.dest.Workload), DstID: e.dest.Principal,
		Route: e.route, RequestID: e.requestID, DryRun: e.dryRun,
	}
	if e.sourceAddr.IsValid() {
		l.SrcAddr = e.sourceAddr.String()
	}
	if e.endpoint.IsValid() {
		l.DstAddr = e.endpoint.String()
		l.DstSec = string(telemetry.SecurityNone)
		if e.secure {
			l.DstSec = string(telemetry.SecurityMutualTLS)
		}
	}
	return l
}

func pair(ns, name string) string {
	if name == "" {
		return ""
	}
	return ns + "/" + name
}

// append adds an entry's line.
func (l *lineLog) append(b []byte, e *entry) []byte {
	if l == nil {
		return b
	}
	out := newLine(e)
	if l.format == telemetry.FormatJSON {
		b = out.json(b)
	} else {
		b = append(b, out.text()...)
	}
	return append(b, '\n')
}

// write writes whole lines.
func (l *lineLog) write(lines []byte) {
	if l == nil || len(lines) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.w.Write(lines) // a full disk loses lines, never requests
}

// text is the line for people.
func (l line) text() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", l.Time.Format(time.RFC3339Nano), l.Protocol)
	if l.Method != "" {
		fmt.Fprintf(&b, " %s %s%s", l.Method, l.Host, l.Path)
	}
	fmt.Fprintf(&b, " %d %s %.1fms %s (%s) -> %s", l.Code, l.Flags, l.Duration, or(l.SrcID), or(l.SrcAddr), or(l.Dialled))
	if l.DstAddr != "" {
		fmt.Fprintf(&b, " -> %s (%s)", or(l.DstID), l.DstAddr)
	}
	for _, f := range [][2]string{{"route", l.Route}, {"details", l.Details}, {"failure", l.Failure}, {"dry_run", strings.Join(l.DryRun, ",")}} {
		if f[1] != "" {
			fmt.Fprintf(&b, " %s=%q", f[0], f[1])
		}
	}
	return []byte(b.String())
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
