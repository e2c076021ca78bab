package api

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
//
// +kubebuilder:validation:XValidation:rule="!has(self.ttl) || !has(self.expires)",fieldPath=".ttl",message="the fault has two ends: write expires or ttl"
// +kubebuilder:validation:XValidation:rule="!self.rules.exists(r, has(r.connection)) || self.targetRefs.all(t, t.kind == 'Service' && !has(t.sectionName))",fieldPath=".targetRefs",message="connections belong to whole Services: give rules with connection a Fault of their own, of Services without sectionName"
type FaultSpec struct {
	// TargetRefs are Services of the fault's namespace or ports of them, HTTPRoutes or GRPCRoutes or rules of them. Where
	// several concern a request, rules of faults with the narrower target are tried first.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'Service' ? (!has(self.group) || self.group in ['', 'core']) : self.kind in ['HTTPRoute', 'GRPCRoute'] && has(self.group) && self.group == 'gateway.networking.k8s.io'",message="no target: name a Service, or an HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"
	TargetRefs []TargetRef `json:"targetRefs"`
	// Expires is when the fault ends by itself, in RFC 3339, e.g. 2026-01-31T18:00:00Z. Left out: when it is deleted.
	Expires *metav1.Time `json:"expires,omitempty"`
	// TTL is how long after its creation (metadata.creationTimestamp) the fault ends by itself, e.g. 30m.
	//
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s')",message="the fault lasts no time: write e.g. 30m"
	TTL Duration `json:"ttl,omitempty"`
	// Rules are tried in order; the first whose match holds applies.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Rules []FaultRule `json:"rules"`
}

// FaultRule is what to do to which requests, or to which connections.
//
// +kubebuilder:validation:XValidation:rule="has(self.abort) || has(self.delay) || has(self.bandwidth) || has(self.connection)",message="the rule does nothing: add abort, delay, bandwidth or connection"
// +kubebuilder:validation:XValidation:rule="!has(self.connection) || !has(self.matches) && !has(self.abort) && !has(self.delay) && !has(self.bandwidth)",fieldPath=".connection",message="connections are not requests: give connection a rule of its own, without matches, abort, delay and bandwidth"
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
	// Bandwidth limits how fast the body of each answer comes.
	Bandwidth *FaultAnswerBandwidth `json:"bandwidth,omitempty"`
}

// End is when the fault ends by itself; zero: never, or nobody knows, for it has a TTL and no time of creation.
func (f *Fault) End() time.Time {
	switch {
	case f.Spec.Expires != nil:
		return f.Spec.Expires.Time
	case f.Spec.TTL != "" && !f.CreationTimestamp.IsZero():
		return f.CreationTimestamp.Add(f.Spec.TTL.Value())
	}
	return time.Time{}
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
	// Distribution spreads the delays; duration is then their mean. Left out, all are of the same length.
	Distribution *FaultDistribution `json:"distribution,omitempty"`
}

// FaultDistribution is how delays of requests differ, in whole milliseconds.
//
// +kubebuilder:validation:XValidation:rule="has(self.deviation) == (self.kind != 'Exponential')",fieldPath=".deviation",message="deviation is of kinds Normal and Uniform: write it there, and leave it out of Exponential"
type FaultDistribution struct {
	// Kind is Normal, of which what would be below zero is no delay; Uniform, from duration - deviation to duration +
	// deviation; or Exponential, of whose delays 1 in 20 lasts three times the mean, and 1 in 150 five times.
	//
	// +kubebuilder:validation:Enum=Normal;Uniform;Exponential
	Kind string `json:"kind"`
	// Deviation is the standard deviation of Normal, the greatest one of Uniform.
	Deviation Duration `json:"deviation,omitempty"`
	// Max is the longest delay. Left out: whatever chance brings.
	Max Duration `json:"max,omitempty"`
}

// FaultAnswerBandwidth limits the bodies of answers, each by itself.
type FaultAnswerBandwidth struct {
	// Percentage of the answers, 0 to 100. Left out: all of them.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage *float64 `json:"percentage,omitempty"`
	// Limit in bytes per second of each answer, e.g. 64Ki; counted in whole Ki.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[A-Za-z]') || self.matches('^[0-9]{5}')",message="too slow to count: write 1Ki or more"
	Limit ByteCount `json:"limit"`
}
