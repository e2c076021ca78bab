package launcher

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
)

// maxSeries bounds the label sets of requests: a caller who can make up labels (the status, the flags) must
// not be able to fill the memory.
const maxSeries = 20_000

// maxPlans bounds what is remembered of routes' words.
const maxPlans = 1000

var requestLabels = [...]string{
	"reporter",
	"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal",
	"destination_service", "destination_service_name", "destination_service_namespace",
	"request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy",
}

const requestLabelCount = len(requestLabels)

func (c *counters) requestLabels(e *entry) [requestLabelCount]string {
	code := c.codes[e.code]
	if code == "" {
		code = strconv.FormatUint(uint64(e.code), 10)
		c.codes[e.code] = code
	}
	name, _, _ := strings.Cut(e.service, ".")
	return [...]string{
		string(reporterWaypoint),
		known(e.source.Workload), known(e.source.Namespace), known(e.source.Principal), known(e.source.App), known(e.source.Version), known(e.source.Cluster),
		known(e.dest.Workload), known(e.dest.Namespace), known(e.dest.Principal),
		known(e.service), known(name), known(e.serviceNS),
		e.protocol, code, e.grpc, e.flags, string(telemetry.SecurityMutualTLS),
	}
}

// counters of requests. Those whose Telemetry adds or drops labels are of the same metrics under other names of
// labels.
type counters struct {
	metrics *telemetry.Metrics
	over    *prometheus.CounterVec

	mu     sync.Mutex                     // protects what follows
	seen   map[string]*sum                // by how they are counted and labels
	values map[string]map[string]struct{} // of the labels with a bound, by how they are counted and name
	plans  map[string]*plan               // by a route's words
	series map[string]*series             // by names of labels
	codes  map[uint32]string
	labels []string // of the request at hand
	key    []byte   // of seen
}

// A sum is of the requests with one set of labels.
type sum struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

// A plan is how the requests of some routes are counted.
type plan struct {
	model.Metrics
	keep   []int // of requestLabels
	series *series
}

// series are the metrics with one list of labels.
type series struct {
	names    string
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newCounters(m *telemetry.Metrics) *counters {
	return &counters{
		metrics: m, seen: map[string]*sum{}, codes: map[uint32]string{}, values: map[string]map[string]struct{}{}, plans: map[string]*plan{}, series: map[string]*series{},
		over: m.CounterVec("request_label_values_other_total", "Requests with a value of a label of one's own beyond the bound, counted as other.", "label"),
	}
}

func (c *counters) count(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.plan(e.metrics)
	if p.Disabled {
		return
	}
	c.label(p, e)
	s := c.sum(p)
	s.requests.Inc()
	s.duration.Observe(float64(e.duration.Microseconds()) / 1000)
}

// plan reads a route's words. What cannot be read, as it comes from a controller of another version, is as if it were
// not there.
func (c *counters) plan(words string) *plan {
	if p := c.plans[words]; p != nil {
		return p
	}
	p := &plan{}
	if words != "" {
		if err := json.Unmarshal([]byte(words), &p.Metrics); err != nil {
			p.Metrics = model.Metrics{}
		}
	}
	var names []string
	for i, name := range requestLabels {
		if !slices.Contains(p.Drop, name) {
			p.keep, names = append(p.keep, i), append(names, name)
		}
	}
	for _, l := range p.Labels {
		names = append(names, l.Name)
	}
	key := strings.Join(names, ",")
	if c.series[key] == nil {
		c.series[key] = c.newSeries(key, names)
	}
	p.series = c.series[key]
	if len(c.plans) >= maxPlans { // most are of routes that were
		clear(c.plans)
	}
	c.plans[strings.Clone(words)] = p
	return p
}

func (c *counters) newSeries(key string, names []string) *series {
	s := &series{
		names: key,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: c.metrics.Name("requests_total"), Help: "Requests that the waypoint answered.",
		}, names),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    c.metrics.Name("request_duration_milliseconds"),
			Help:    "Time from the first byte of a request to the last of its response.",
			Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000},
		}, names),
	}
	c.metrics.Registry().MustRegister(undescribed{s.requests}, undescribed{s.duration})
	return s
}

// undescribed lets several collectors have metrics of one name with different labels.
type undescribed struct{ prometheus.Collector }

// Describe is of prometheus.Collector.
func (undescribed) Describe(chan<- *prometheus.Desc) {}

// label fills in the labels of a request, as its plan says.
func (c *counters) label(p *plan, e *entry) {
	all := c.requestLabels(e)
	out := c.labels[:0]
	for _, i := range p.keep {
		out = append(out, all[i])
	}
	for _, l := range p.Labels {
		switch {
		case l.Literal != "":
			out = append(out, l.Literal)
		case l.Attribute == "Method":
			out = append(out, c.few(p, l.Name, e.method))
		case l.Attribute == "Host":
			out = append(out, c.few(p, l.Name, e.host))
		default:
			out = append(out, c.few(p, l.Name, e.own[l.Name]))
		}
	}
	c.labels = out
}

// few keeps the values of a label to their bound.
func (c *counters) few(p *plan, name, value string) string {
	const longest = 128
	value = strings.ToValidUTF8(known(value[:min(len(value), longest)]), "?")
	if value == "unknown" {
		return value
	}
	key := p.series.names + "/" + name
	seen := c.values[key]
	if seen == nil {
		seen = map[string]struct{}{}
		c.values[key] = seen
	}
	if _, ok := seen[value]; !ok {
		if len(seen) >= int(p.MaxValues) {
			c.over.WithLabelValues(name).Inc()
			return "other"
		}
		seen[strings.Clone(value)] = struct{}{}
	}
	return value
}

// sum of what has the labels. It keeps the number of label sets in check: what comes after the bound is counted, but not
// told apart.
func (c *counters) sum(p *plan) *sum {
	if s := c.known(p); s != nil {
		return s
	}
	if len(c.seen) >= maxSeries {
		for i := range c.labels[1:] {
			c.labels[1+i] = "overflow"
		}
		if s := c.known(p); s != nil {
			return s
		}
	}
	labels := make([]string, len(c.labels)) // those at hand are parts of a message
	for i, l := range c.labels {
		labels[i] = strings.Clone(l)
	}
	s := &sum{requests: p.series.requests.WithLabelValues(labels...), duration: p.series.duration.WithLabelValues(labels...)}
	c.seen[string(c.key)] = s
	return s
}

// known is the sum for the labels, if there has been one like it; else c.key is what to keep it by.
func (c *counters) known(p *plan) *sum {
	c.key = append(append(c.key[:0], p.series.names...), 0)
	for _, l := range c.labels {
		c.key = append(append(c.key, l...), 0)
	}
	return c.seen[string(c.key)]
}
