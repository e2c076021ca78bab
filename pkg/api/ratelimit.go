package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RateLimit bounds how many requests a service is asked.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ratelimits,shortName=wrl,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type RateLimit struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              RateLimitSpec `json:"spec"`
	Status            Status        `json:"status,omitzero"`
}

// RateLimitSpec is what a person writes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.global) || self.rules.all(r, !has(r.burst))",fieldPath=".rules",message="a limit that is counted together has no burst: leave burst out, or leave global out"
type RateLimitSpec struct {
	// TargetRefs are what it applies to, in its own namespace: a Service or one of its ports, an HTTPRoute or
	// GRPCRoute or one of its rules, or a waypoint's Gateway, for each port of each service behind it. Of several
	// policies that concern a request, the one with the narrowest target counts.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs"`
	// Rules count each by themselves. A request that any of them has no room for is answered 429.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Rules []RateLimitRule `json:"rules"`
	// Global has all waypoints count together, at a rate limit service. Left out, each pod of the waypoint counts what
	// passes it: n pods let n times as much pass.
	Global *GlobalRateLimit `json:"global,omitempty"`
	// Headers tells callers how much is left, by RateLimit-Limit, -Remaining and -Reset (the IETF's draft 03), and by the
	// same with X- before.
	Headers bool `json:"headers,omitempty"`
	// DryRun counts and refuses nothing.
	DryRun bool `json:"dryRun,omitempty"`
	// MaxKeys is how many values of a rule's keys each pod of the waypoint remembers; the one not seen for longest is
	// forgotten for a new one, and begins anew. Default 1000. It is of no meaning with global.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	MaxKeys int32 `json:"maxKeys,omitempty"`
}

// RateLimitRule is how many requests in which time.
type RateLimitRule struct {
	// Requests is how many.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Requests int32 `json:"requests"`
	// Per is the time.
	Per RateLimitUnit `json:"per"`
	// Burst is how many may come at once after a pause. Default as Requests.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000
	Burst *int32 `json:"burst,omitempty"`
	// From: only requests of any of these callers are counted. Left out, all.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	From []FaultSource `json:"from,omitempty"`
	// Match is which requests are counted. Left out, all.
	Match *RequestMatch `json:"match,omitempty"`
	// By counts the requests of each value by themselves: of each caller, each path. Left out, all together.
	//
	// +kubebuilder:validation:MaxItems=4
	By []RateLimitKey `json:"by,omitempty"`
}

// RateLimitUnit is a length of time.
//
// +kubebuilder:validation:Enum=Second;Minute;Hour;Day
type RateLimitUnit string

// RateLimitKey is a property of a request.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) == (self.type == 'Header')",message="name is of a header: write type: Header and name, or leave name out"
type RateLimitKey struct {
	// Type is the caller's Identity (of its certificate), its Namespace, its Address, or the request's Method, Path (without
	// query), Host, or a Header. Requests without the header are counted together.
	//
	// +kubebuilder:validation:Enum=Identity;Namespace;Address;Method;Path;Host;Header
	Type string `json:"type"`
	// Name of the header.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9_-]+$')",message="not a header's name: write letters, digits, - and _"
	Name string `json:"name,omitempty"`
}

// GlobalRateLimit is where waypoints count together.
type GlobalRateLimit struct {
	// Service speaks Envoy's rate limit protocol (gRPC), as envoyproxy/ratelimit does. The limits themselves go
	// along with each question: all that the service has to know is the domain.
	Service ServiceRef `json:"service"`
	// Domain is the service's name for a set of counters. Default weft.
	//
	// +kubebuilder:validation:MaxLength=63
	Domain string `json:"domain,omitempty"`
	// FailOpen lets requests pass while the service cannot be asked. By default they are answered 503.
	FailOpen bool `json:"failOpen,omitempty"`
	// Timeout of a question. Default 100ms.
	Timeout Duration `json:"timeout,omitempty"`
}
