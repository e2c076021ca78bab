package spans

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Defaults of Options.
const (
	DefaultQueue = 4096
	DefaultEvery = time.Second
)

const (
	batch   = 512              // spans of one message at most
	timeout = 10 * time.Second // of one message
)

// Options of New.
type Options struct {
	// Conn leads to the collector. Required.
	Conn grpc.ClientConnInterface
	// Resource says who sends the spans: service.name and the like.
	Resource []*commonv1.KeyValue
	// Queue bounds the spans that wait. 0: 4096.
	Queue int
	// Every is how long a span waits for company. 0: one second.
	Every time.Duration
	// Log is told once when the collector is away, and once when it is back. nil: none.
	Log *zap.Logger
}

// Exporter sends spans to a collector. A nil *Exporter takes none.
type Exporter struct {
	o       Options
	client  collectorv1.TraceServiceClient
	wake    chan struct{} // a message is full
	sent    atomic.Uint64
	dropped atomic.Uint64
	away    bool // used by Run alone

	mu      sync.Mutex // protects waiting
	waiting []*tracev1.Span
}

// Dial prepares a connection to a collector's OTLP over gRPC: http://host:4317, or https:// for TLS with the roots of
// the system. Nothing is sent yet.
func Dial(endpoint string) (*grpc.ClientConn, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Port() == "" || u.Path != "" && u.Path != "/" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("collector %q: want http://HOST:PORT or https://HOST:PORT, of OTLP over gRPC", endpoint)
	}
	creds := insecure.NewCredentials()
	if u.Scheme == "https" {
		creds = credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})
	}
	return grpc.NewClient(u.Host, grpc.WithTransportCredentials(creds))
}

// New makes an exporter; Run sends.
func New(o Options) *Exporter {
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.Every <= 0 {
		o.Every = DefaultEvery
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Exporter{o: o, client: collectorv1.NewTraceServiceClient(o.Conn), wake: make(chan struct{}, 1)}
}

// Add takes a span to send, or drops it where too many wait. It does not block.
func (e *Exporter) Add(s *tracev1.Span) {
	if e == nil {
		return
	}
	e.mu.Lock()
	full := len(e.waiting) >= e.o.Queue
	if !full {
		e.waiting = append(e.waiting, s)
	}
	n := len(e.waiting)
	e.mu.Unlock()
	if full {
		e.dropped.Add(1)
	}
	if n >= batch {
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
}

// Sent counts spans that the collector took.
func (e *Exporter) Sent() uint64 {
	if e == nil {
		return 0
	}
	return e.sent.Load()
}

// Dropped counts spans that were not sent: too many waited, or the collector was away or refused them.
func (e *Exporter) Dropped() uint64 {
	if e == nil {
		return 0
	}
	return e.dropped.Load()
}

// Run sends until ctx ends, and then what still waits, once.
func (e *Exporter) Run(ctx context.Context) {
	if e == nil {
		return
	}
	t := time.NewTicker(e.o.Every)
	defer t.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-e.wake:
		}
		e.flush()
	}
	e.flush() // what came while the last message was under way
}

// flush sends what waits now.
func (e *Exporter) flush() {
	e.mu.Lock()
	all := e.waiting
	e.waiting = nil
	e.mu.Unlock()
	failed := false
	for part := range slices.Chunk(all, batch) {
		if failed { // once in vain is enough: at the end somebody waits for this
			e.dropped.Add(uint64(len(part)))
			continue
		}
		err := e.send(part)
		failed = err != nil
		switch {
		case failed && !e.away:
			e.o.Log.Warn("spans are dropped: the collector cannot be reached, or refuses them", zap.Error(err))
		case !failed && e.away:
			e.o.Log.Info("the collector takes spans again")
		}
		e.away = failed
	}
}

func (e *Exporter) send(part []*tracev1.Span) error {
	// Not of Run's context: what waits is sent when that has ended.
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	res, err := e.client.Export(ctx, &collectorv1.ExportTraceServiceRequest{ResourceSpans: []*tracev1.ResourceSpans{{
		Resource:   &resourcev1.Resource{Attributes: e.o.Resource},
		ScopeSpans: []*tracev1.ScopeSpans{{Scope: &commonv1.InstrumentationScope{Name: "weft"}, Spans: part}},
	}}})
	if err != nil {
		e.dropped.Add(uint64(len(part)))
		return err
	}
	refused := uint64(max(res.GetPartialSuccess().GetRejectedSpans(), 0))
	refused = min(refused, uint64(len(part)))
	e.dropped.Add(refused)
	e.sent.Add(uint64(len(part)) - refused)
	return nil
}

// Text is an attribute.
func Text(key, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}}}
}

// Number is an attribute.
func Number(key string, value int64) *commonv1.KeyValue {
	return &commonv1.KeyValue{Key: key, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_IntValue{IntValue: value}}}
}
