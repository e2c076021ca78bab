package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Telemetry says what is logged, traced and counted, and where it goes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=telemetries,shortName=wtel,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Telemetry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              TelemetrySpec `json:"spec"`
	Status            Status        `json:"status,omitzero"`
}

// TelemetrySpec is what a person writes. Of several that concern a request the narrowest counts, for each of
// accessLog, tracing and metrics by itself.
//
// +kubebuilder:validation:XValidation:rule="has(self.accessLog) || has(self.tracing) || has(self.metrics)",message="nothing is asked for: write accessLog, tracing, or metrics"
type TelemetrySpec struct {
	// TargetRefs are what it applies to, in its own namespace: Services, ports of them by sectionName, or Gateways of
	// class weft-waypoint. Left out: all waypoints and Services of the namespace, and in weft-system all of the mesh.
	//
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// AccessLog is a further log of requests, beside the one that waypoints always write.
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	// Tracing makes spans of requests.
	Tracing *Tracing `json:"tracing,omitempty"`
	// Metrics says how requests are counted.
	Metrics *RequestMetrics `json:"metrics,omitempty"`
}

// RequestMetrics changes the metrics of requests, weft_requests_total and weft_request_duration_milliseconds.
//
// +kubebuilder:validation:XValidation:rule="has(self.disabled) || has(self.labels) || has(self.drop)",message="nothing is changed: write disabled, labels, or drop"
type RequestMetrics struct {
	// Disabled counts no requests.
	Disabled bool `json:"disabled,omitempty"`
	// Labels beside those that the metrics always have.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +listType=map
	// +listMapKey=name
	Labels []MetricLabel `json:"labels,omitempty"`
	// Drop leaves out labels that the metrics otherwise have: what they would tell apart is one series.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Drop []DroppedLabel `json:"drop,omitempty"`
	// MaxValues of each label whose values are not written here. Those that come after are counted as "other". Default 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000",message="not a bound of values: write 1 to 1000"
	MaxValues *uint32 `json:"maxValues,omitempty"`
}

// DroppedLabel is a label of the metrics of requests.
//
// +kubebuilder:validation:Enum=source_workload;source_workload_namespace;source_principal;source_app;source_version;source_cluster;destination_workload;destination_workload_namespace;destination_principal;request_protocol;response_code;grpc_response_status;response_flags;connection_security_policy
type DroppedLabel string

// MetricLabel is a label of metrics.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.attribute), has(self.literal)].filter(x, x).size() == 1",message="a label has one value: write header, attribute, or literal"
type MetricLabel struct {
	// Name of the label. Those that the metrics always have are taken.
	//
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z][a-z0-9_]*$') && !self.matches('^(reporter|source_|destination_|request_protocol$|response_code$|grpc_response_status$|response_flags$|connection_security_policy$|le$)')",message="not a name of one's own: write lower-case letters, digits and _, and no label that the metrics have already"
	Name string `json:"name"`
	// Header of the request whose value it is; "unknown" where there is none.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Header string `json:"header,omitempty"`
	// Attribute of the request: Method or Host.
	//
	// +kubebuilder:validation:Enum=Method;Host
	Attribute string `json:"attribute,omitempty"`
	// Literal value.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Literal string `json:"literal,omitempty"`
}

// AccessLog says which requests are written, what of them, and to where.
//
// +kubebuilder:validation:XValidation:rule="!has(self.fields) || !has(self.text)",message="fields and text exclude each other: leave one out"
type AccessLog struct {
	// Disabled writes nothing: for a target in the middle of a wider one that logs.
	Disabled bool `json:"disabled,omitempty"`
	// Match: only requests for which all of this holds are written. Default: every request.
	Match *AccessLogMatch `json:"match,omitempty"`
	// Fields of a JSON line, each with one of Envoy's format strings, e.g. "%RESPONSE_CODE%". Default: time, method,
	// path, code, flags, duration, bytes, caller and service.
	//
	// +kubebuilder:validation:MaxProperties=32
	Fields map[string]LogFormat `json:"fields,omitempty"`
	// Text of a line, with Envoy's format strings.
	//
	// +kubebuilder:validation:MaxLength=2048
	Text string `json:"text,omitempty"`
	// OTLP is a collector that is sent the log by gRPC, over the mesh. Default: the waypoint's own output.
	OTLP *ServiceRef `json:"otlp,omitempty"`
}

// LogFormat is one of Envoy's format strings.
//
// +kubebuilder:validation:MaxLength=256
type LogFormat string

// AccessLogMatch is a conjunction over a finished request.
type AccessLogMatch struct {
	// MinStatus is the least response code.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 100 && self <= 599",message="not an HTTP status: write 100 to 599"
	MinStatus uint32 `json:"minStatus,omitempty"`
	// MinDuration that it took.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(h|m|s|ms))+$')",message="not a duration: write e.g. 500ms"
	MinDuration *metav1.Duration `json:"minDuration,omitempty"`
	// Headers of the request that are there, with these values.
	//
	// +kubebuilder:validation:MaxProperties=8
	Headers map[string]HeaderValue `json:"headers,omitempty"`
	// Percentage of them that is written. Default 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage *float64 `json:"percentage,omitempty"`
}

// Tracing of requests, with W3C trace context. A request that comes with a trace is recorded if its caller did so.
type Tracing struct {
	// Collector is sent the spans by OTLP over gRPC, over the mesh. A waypoint has one: that of its Gateway's
	// Telemetry, else of its namespace's, else of the mesh's, else of the oldest of its services.
	Collector *ServiceRef `json:"collector,omitempty"`
	// Percentage of the requests without a trace that begin one. Default 1.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage *float64 `json:"percentage,omitempty"`
	// ConnectionPercentage of the connections without a trace begin one at a ztunnel, with a waypoint or without; ztunnels
	// have a collector of their own. Default: percentage; if that is left out too, what a wider Telemetry says, or else how
	// ztunnels are set.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	ConnectionPercentage *float64 `json:"connectionPercentage,omitempty"`
	// Tags of each span, beside those that it always has.
	//
	// +kubebuilder:validation:MaxItems=16
	Tags []SpanTag `json:"tags,omitempty"`
}

// SpanTag is a tag of a span.
//
// +kubebuilder:validation:XValidation:rule="has(self.header) != has(self.literal)",message="a tag has one value: write header or literal"
type SpanTag struct {
	// Name of the tag.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Name string `json:"name"`
	// Header of the request whose value it is; a request without has no such tag.
	//
	// +kubebuilder:validation:MaxLength=128
	Header string `json:"header,omitempty"`
	// Literal value.
	//
	// +kubebuilder:validation:MaxLength=256
	Literal string `json:"literal,omitempty"`
}
