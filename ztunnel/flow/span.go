package flow

import (
	"strings"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

// Trace makes f part of the trace of a traceparent header, or of one of its own. Call it before Established.
func (t *Table) Trace(f *Flow, traceparent string) { f.Trace = spans.From(traceparent, t.percent) }

// Sample draws anew whether f is recorded, if the service that it is for says of how many connections, and it came
// without a trace. Call it before Established, and before the trace is passed on.
func (t *Table) Sample(f *Flow, s *model.Service, port uint16) {
	if t.spans == nil || s == nil || f.Trace.Parent != [8]byte{} {
		return
	}
	if percentage, ok := s.Sampled(port); ok {
		f.Trace = spans.From("", percentage)
	}
}

// traced reports whether f is to be a span.
func (f *Flow) traced() bool { return f.Trace.Recorded && f.table.spans != nil }

// A recorded connection has two spans: one until bytes may move, which is sent at once, for it is the parent of what
// happens on the connection; and a child of it for the rest, which may take days, with what was moved.

func (f *Flow) opening(r *telemetry.Record) *tracev1.Span {
	s := f.span(r, "open ", r.Time)
	s.SpanId = f.Trace.Span[:]
	if f.Trace.Parent != [8]byte{} {
		s.ParentSpanId = f.Trace.Parent[:]
	}
	return s
}

func (f *Flow) carrying(r *telemetry.Record) *tracev1.Span {
	s := f.span(r, "carry ", *f.since)
	id := f.Trace.Next()
	s.SpanId, s.ParentSpanId = id[:], f.Trace.Span[:]
	s.Attributes = append(s.Attributes, spans.Number("weft.bytes.sent", int64(r.Sent)), spans.Number("weft.bytes.received", int64(r.Received)))
	return s
}

// span lasts from since until now.
func (f *Flow) span(r *telemetry.Record, what string, since time.Time) *tracev1.Span {
	s := &tracev1.Span{
		TraceId: f.Trace.Trace[:], Flags: 1, Name: what + f.name(), Kind: tracev1.Span_SPAN_KIND_SERVER,
		StartTimeUnixNano: uint64(since.UnixNano()), EndTimeUnixNano: uint64(r.Time.Add(r.Duration).UnixNano()), Attributes: attributes(r),
	}
	if f.Direction == Outbound {
		s.Kind = tracev1.Span_SPAN_KIND_CLIENT
	}
	if r.Cause != "" {
		s.Status = &tracev1.Status{Code: tracev1.Status_STATUS_CODE_ERROR, Message: r.Cause}
	}
	return s
}

// name is of few values: the service, or whose pod it is.
func (f *Flow) name() string {
	if f.Service != "" {
		return f.Service
	}
	if d := f.labelled().Destination; d.Workload != "" {
		return d.Namespace + "/" + d.Workload
	}
	return "unknown"
}

// attributes in the vocabulary of OpenTelemetry where it has a word for them, else in that of the access log.
func attributes(r *telemetry.Record) []*commonv1.KeyValue {
	out := []*commonv1.KeyValue{
		spans.Text("network.transport", "tcp"), spans.Text("weft.direction", r.Direction), spans.Text("weft.security", string(r.Security)),
	}
	add := func(key, value string) {
		if value != "" {
			out = append(out, spans.Text(key, value))
		}
	}
	if a := r.Source.Address; a.IsValid() {
		out = append(out, spans.Text("client.address", a.Addr().String()), spans.Number("client.port", int64(a.Port())))
	}
	if a := r.Dest.Address; a.IsValid() {
		out = append(out, spans.Text("server.address", a.Addr().String()), spans.Number("server.port", int64(a.Port())))
	}
	add("weft.source.workload", r.Source.Workload)
	add("weft.source.identity", r.Source.Identity)
	add("weft.destination.workload", r.Dest.Workload)
	add("weft.destination.identity", r.Dest.Identity)
	add("weft.service", r.Service)
	add("weft.waypoint", r.Via)
	add("weft.policy", r.Policy)
	add("weft.fault", r.Fault)
	add("weft.dry_run", strings.Join(r.DryRun, ","))
	if r.Flags != telemetry.FlagNone {
		add("weft.flags", string(r.Flags))
	}
	if r.Retries > 0 {
		out = append(out, spans.Number("weft.retries", int64(r.Retries)))
	}
	return out
}
