package model

import "time"

// Telemetry is what is logged, traced and counted at a target.
type Telemetry struct {
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	Tracing   *Tracing   `json:"tracing,omitempty"`
	Metrics   *Metrics   `json:"metrics,omitempty"`
}

// Samples reports whether it says of which connections ztunnels begin a trace.
func (t *Telemetry) Samples() bool {
	return t != nil && t.Tracing != nil && t.Tracing.Connections != nil
}

// Metrics says how requests are counted.
type Metrics struct {
	Disabled  bool          `json:"disabled,omitempty"`
	Labels    []MetricLabel `json:"labels,omitempty"`
	Drop      []string      `json:"drop,omitempty"`
	MaxValues uint32        `json:"maxValues,omitempty"` // of each label; what comes after is "other"
}

// MetricLabel is a label of metrics: of a header, of an attribute (Method, Host), or literal.
type MetricLabel struct {
	Name      string `json:"name"`
	Header    string `json:"header,omitempty"`
	Attribute string `json:"attribute,omitempty"`
	Literal   string `json:"literal,omitempty"`
}

// AccessLog is a further log of requests.
type AccessLog struct {
	Disabled    bool              `json:"disabled,omitempty"`
	MinStatus   uint32            `json:"minStatus,omitempty"`
	MinDuration time.Duration     `json:"minDuration,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Percentage  float64           `json:"percentage"`       // of what matches
	Fields      map[string]string `json:"fields,omitempty"` // name to format
	Text        string            `json:"text,omitempty"`
	OTLP        *ServicePort      `json:"otlp,omitempty"` // nil: the waypoint's own output
}

// Tracing of requests.
type Tracing struct {
	Collector  *ServicePort `json:"collector,omitempty"`
	Percentage float64      `json:"percentage"` // of requests without a trace
	// Connections without a trace that begin one at a ztunnel, in percent; nil: as ztunnels are set.
	Connections *float64  `json:"connections,omitempty"`
	Tags        []SpanTag `json:"tags,omitempty"`
}

// Sample is how many of the connections to a service that come without a trace begin one, at a ztunnel.
type Sample struct {
	Port       uint16  `json:"port,omitempty"` // of the service; 0: those that have none of their own
	Percentage float64 `json:"percentage"`
}

// Sampled is the percentage of a port; ok is false where nothing is said.
func (s *Service) Sampled(port uint16) (percentage float64, ok bool) {
	for _, p := range s.Samples {
		switch p.Port {
		case port:
			return p.Percentage, true
		case 0:
			percentage, ok = p.Percentage, true
		}
	}
	return percentage, ok
}

// SpanTag is a tag of a span: of a header, or literal.
type SpanTag struct {
	Name    string `json:"name"`
	Header  string `json:"header,omitempty"`
	Literal string `json:"literal,omitempty"`
}
