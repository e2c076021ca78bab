package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Fault injects failures: into requests of services at their waypoint, into connections at their callers' nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=faults,shortName=wfault,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Fault struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              FaultSpec `json:"spec"`
	Status            Status    `json:"status,omitzero"`
}

// FaultSpec is what a person writes.
type FaultSpec struct {
	// TargetRefs are Services of the fault's namespace.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'Service' && (!has(self.group) || self.group in ['', 'core'])",message="no target: name a Service"
	// +kubebuilder:validation:items:XValidation:rule="!has(self.sectionName)",message="sectionName is not understood here: leave it out"
	TargetRefs []TargetRef `json:"targetRefs"`
	// Expires is when the fault ends by itself, in RFC 3339, e.g. 2026-01-31T18:00:00Z. Left out: when it is deleted.
	Expires *metav1.Time `json:"expires,omitempty"`
	// Rules are tried in order; the first whose match holds applies.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Rules []FaultRule `json:"rules"`
}

// FaultRule is what to do to which requests, or to which connections.
//
// +kubebuilder:validation:XValidation:rule="has(self.abort) || has(self.delay) || has(self.connection)",message="the rule does nothing: add abort, delay or connection"
// +kubebuilder:validation:XValidation:rule="!has(self.connection) || !has(self.matches) && !has(self.abort) && !has(self.delay)",fieldPath=".connection",message="connections are not requests: give connection a rule of its own, without matches, abort and delay"
type FaultRule struct {
	// From: any of these callers (none: every caller).
	//
	// +kubebuilder:validation:MaxItems=16
	From []FaultSource `json:"from,omitempty"`
	// Connection does harm to connections.
	Connection *FaultConnection `json:"connection,omitempty"`
	// Matches: any of them (none: every request).
	//
	// +kubebuilder:validation:MaxItems=16
	Matches []RequestMatch `json:"matches,omitempty"`
	// Abort answers without asking the service.
	Abort *FaultAbort `json:"abort,omitempty"`
	// Delay holds back; an abort of the same rule comes after it.
	Delay *FaultDelay `json:"delay,omitempty"`
}

// RequestMatch is a conjunction over a request.
type RequestMatch struct {
	// Path matches a prefix by whole segments when it ends with "*", else exactly.
	//
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self == '' || self.startsWith('/')",message="a path begins with /"
	Path string `json:"path,omitempty"`
	// Method is equal.
	//
	// +kubebuilder:validation:MaxLength=64
	Method string `json:"method,omitempty"`
	// Headers are all there, with these values.
	//
	// +kubebuilder:validation:MaxProperties=16
	Headers map[string]string `json:"headers,omitempty"`
}

// FaultAbort answers a share of requests without asking the service.
//
// +kubebuilder:validation:XValidation:rule="!has(self.httpStatus) || self.httpStatus == 0 || !has(self.grpcStatus)",message="httpStatus and grpcStatus exclude each other: leave one out"
type FaultAbort struct {
	// Percentage of the requests, 0 to 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage float64 `json:"percentage"`
	// HTTPStatus is the answer. Default 503.
	//
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 200 && self <= 599",message="not an HTTP status to end a request with: write 200 to 599"
	HTTPStatus uint32 `json:"httpStatus,omitempty"`
	// GRPCStatus is the answer to gRPC requests, 0 to 16.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 16",message="not a gRPC status: write 0 to 16"
	GRPCStatus *uint32 `json:"grpcStatus,omitempty"`
}

// FaultDelay holds a share of requests back.
type FaultDelay struct {
	// Percentage of the requests, 0 to 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage float64 `json:"percentage"`
	// Duration of the delay, e.g. 200ms.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(h|m|s|ms|us|ns))+$') && duration(self) > duration('0s')",message="the delay lasts no time: write e.g. 200ms"
	Duration metav1.Duration `json:"duration"`
}
