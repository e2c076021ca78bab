package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ClaimMatch is about one claim of a verified token. A request without it matches no value.
//
// +kubebuilder:validation:XValidation:rule="has(self.values) || has(self.notValues)",message="it asks nothing: write values or notValues"
type ClaimMatch struct {
	// Claim is the path to it: one name, or several where it lies in objects.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Claim []string `json:"claim"`
	// Values: one of them is the claim's, or, of a list, one of its elements. Numbers and true, false are
	// written in quotes.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	Values []string `json:"values,omitempty"`
	// NotValues: none of them is.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	NotValues []string `json:"notValues,omitempty"`
}

// HeaderCondition is about one header of the request. Of a header that comes several times, or holds a list,
// one element is enough to refuse; to allow, all of it has to be as written.
//
// +kubebuilder:validation:XValidation:rule="has(self.values) || has(self.notValues)",message="it asks nothing: write values or notValues"
type HeaderCondition struct {
	// Name of the header.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['host', 'x-weft-dst', 'x-forwarded-client-cert', 'x-forwarded-for'])",message="not a header that policies may look at: for Host use hosts, for callers use from"
	Name string `json:"name"`
	// Values: one of them; "*" is that the header is there.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	Values []string `json:"values,omitempty"`
	// NotValues: none of them; "*" is that it is not there.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	NotValues []string `json:"notValues,omitempty"`
}

// ExternalAuthorization is a service that decides on requests: by Envoy's gRPC protocol
// (envoy.service.auth.v3), or by HTTP, where 200 lets the request pass. It learns who the caller is from
// the header x-forwarded-client-cert.
//
// +kubebuilder:validation:XValidation:rule="has(self.protocol) && self.protocol == 'HTTP' || !has(self.pathPrefix) && !has(self.headersToUpstream) && !has(self.headersToClient)",message="a gRPC service says these in its answer: leave pathPrefix, headersToUpstream and headersToClient out, or write protocol: HTTP"
type ExternalAuthorization struct {
	// Service that is asked.
	Service ServiceReference `json:"service"`
	// Protocol is GRPC (default) or HTTP.
	//
	// +kubebuilder:validation:Enum=GRPC;HTTP
	Protocol string `json:"protocol,omitempty"`
	// Timeout of the question. Default 1s.
	//
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms') && duration(self) <= duration('60s')",message="out of range: write 1ms to 60s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// FailOpen lets requests pass when the service cannot be asked. By default they are refused.
	FailOpen bool `json:"failOpen,omitempty"`
	// StatusOnError is the answer when it cannot be asked. Default 503.
	//
	// +kubebuilder:validation:Minimum=400
	// +kubebuilder:validation:Maximum=599
	StatusOnError uint32 `json:"statusOnError,omitempty"`
	// PathPrefix is put before the path of the request that is asked about.
	//
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9/._~-]*$`
	PathPrefix string `json:"pathPrefix,omitempty"`
	// HeadersToService are the request's headers that it sees. Default: by gRPC all; by HTTP none but host,
	// authorization and x-forwarded-client-cert.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9._-]+$`
	HeadersToService []string `json:"headersToService,omitempty"`
	// HeadersToUpstream are headers of its answer that the application gets.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9._-]+$`
	HeadersToUpstream []string `json:"headersToUpstream,omitempty"`
	// HeadersToClient are headers of its refusal that the client gets. Default: all.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9._-]+$`
	HeadersToClient []string `json:"headersToClient,omitempty"`
	// Body hands the request's body on. By default the service does not see it.
	Body *ExternalBody `json:"body,omitempty"`
}

// ServiceReference names a port of a Service.
type ServiceReference struct {
	// Namespace, default the policy's own. Another one has to allow it by a ReferenceGrant.
	//
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}

// ExternalBody is how much of a body is handed on.
type ExternalBody struct {
	// MaxBytes are held until the service has answered. A larger body is answered 413, but for Partial.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1048576
	MaxBytes uint32 `json:"maxBytes"`
	// Partial hands on the beginning of a larger body.
	Partial bool `json:"partial,omitempty"`
}
