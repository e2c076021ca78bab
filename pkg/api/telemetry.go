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
// accessLog and tracing by itself.
//
// +kubebuilder:validation:XValidation:rule="has(self.accessLog) || has(self.tracing)",message="nothing is asked for: write accessLog, or tracing"
type TelemetrySpec struct {
	// TargetRefs are what it applies to, in its own namespace: Services, ports of them by sectionName, or Gateways of
	// class weft-waypoint. Left out: all waypoints of the namespace, and in weft-system all of the mesh.
	//
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// AccessLog is a further log of requests, beside the one that waypoints always write.
	AccessLog *AccessLog `json:"accessLog,omitempty"`
	// Tracing makes spans of requests.
	Tracing *Tracing `json:"tracing,omitempty"`
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
