package model

import "time"

// Telemetry is what is logged, traced and counted at a target.
type Telemetry struct {
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	Tracing   *Tracing   `json:"tracing,omitempty"`
	Metrics   *Metrics   `json:"metrics,omitempty"`
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
	Tags       []SpanTag    `json:"tags,omitempty"`
}

// SpanTag is a tag of a span: of a header, or literal.
type SpanTag struct {
	Name    string `json:"name"`
	Header  string `json:"header,omitempty"`
	Literal string `json:"literal,omitempty"`
}
