package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// TrafficPolicy says how calls to a service are carried: timeouts, retries, balancing, limits, ejection, health.
//
// Of several policies that concern a request, each field is taken from the one with the narrowest target
// that sets it: a rule before its route, that before a port of the Service, and the Service. What a route
// itself says (timeouts, retry, sessionPersistence) comes before all of them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=trafficpolicies,shortName=wtp,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type TrafficPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              TrafficPolicySpec `json:"spec"`
	Status            Status            `json:"status,omitzero"`
}

// TrafficPolicySpec is what a person writes. Timeouts, retries and subset concern requests; the rest
// concerns connections, which all routes to a Service share, and is said of Services only.
//
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.loadBalancing)",fieldPath=".loadBalancing",message="loadBalancing acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.locality)",fieldPath=".locality",message="locality acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.connectionLimits)",fieldPath=".connectionLimits",message="connectionLimits act on connections, which routes share: attach them to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.outlierDetection)",fieldPath=".outlierDetection",message="outlierDetection acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.tcpKeepalive)",fieldPath=".tcpKeepalive",message="tcpKeepalive acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.http2) && !has(self.protocol)",fieldPath=".protocol",message="protocol and http2 act on connections, which routes share: attach them to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.tls)",fieldPath=".tls",message="tls acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.healthChecks)",fieldPath=".healthChecks",message="healthChecks concern endpoints, which routes share: attach them to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.timeouts) || !has(self.timeouts.connect)",fieldPath=".timeouts.connect",message="timeouts.connect acts on connections, which routes share: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="self.targetRefs.all(t, t.kind == 'Service') || !has(self.retries) || !has(self.retries.budget)",fieldPath=".retries.budget",message="a retry budget is shared by all routes to a Service: attach it to the Service"
// +kubebuilder:validation:XValidation:rule="!has(self.protocol) || self.protocol != 'HTTP1' || !has(self.http2)",fieldPath=".http2",message="protocol HTTP1 has no use for http2: leave one of them out"
type TrafficPolicySpec struct {
	// TargetRefs are what it applies to, in its own namespace: a Service or one of its ports, an HTTPRoute or
	// GRPCRoute or one of its rules.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'Service' ? !has(self.group) || self.group in ['', 'core'] : self.kind in ['HTTPRoute', 'GRPCRoute'] && has(self.group) && self.group == 'gateway.networking.k8s.io'",message="no target: name a Service, or an HTTPRoute or GRPCRoute with group: gateway.networking.k8s.io"
	TargetRefs []TargetRef `json:"targetRefs"`
	// Timeouts bound how long things may take.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
	// Retries of failed tries. Left out: two, of GET, HEAD and OPTIONS that got no answer, at other endpoints.
	Retries *Retries `json:"retries,omitempty"`
	// LoadBalancing is how an endpoint is chosen. Left out: the less busy of two random ones.
	LoadBalancing *LoadBalancing `json:"loadBalancing,omitempty"`
	// Locality is which endpoints are chosen from first. Left out: what the Service's trafficDistribution says.
	Locality *Locality `json:"locality,omitempty"`
	// Subset keeps requests to the endpoints whose pods carry these labels; where there are none, to no others.
	//
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=8
	Subset map[string]string `json:"subset,omitempty"`
	// ConnectionLimits break the circuit: what exceeds them is refused at once (HTTP 503), but for HTTP requests that may wait for
	// a connection (maxPendingRequests). Left out: no limits.
	ConnectionLimits *ConnectionLimits `json:"connectionLimits,omitempty"`
	// OutlierDetection ejects endpoints that fail, for a while. Left out: none is ejected.
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`
	// TCPKeepalive probes idle connections. Left out: as the system has it.
	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`
	// Protocol that is spoken to the application. Left out: what its port declares, else what the client spoke.
	Protocol UpstreamProtocol `json:"protocol,omitempty"`
	// HTTP2 tunes connections that speak it.
	HTTP2 *HTTP2 `json:"http2,omitempty"`
	// TLS to endpoints that are outside the mesh. Left out: in clear, as the client spoke.
	TLS *BackendTLS `json:"tls,omitempty"`
	// HealthChecks are made on the endpoints' own nodes; an endpoint that fails one gets no traffic from anywhere.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	HealthChecks []HealthCheck `json:"healthChecks,omitempty"`
}

// UpstreamProtocol is what is spoken to the application.
//
// +kubebuilder:validation:Enum=HTTP1;HTTP2
type UpstreamProtocol string

// Protocols.
const (
	ProtocolHTTP1 UpstreamProtocol = "HTTP1"
	ProtocolHTTP2 UpstreamProtocol = "HTTP2"
)

// Timeouts bound how long things may take; 0s is no bound.
//
// +kubebuilder:validation:XValidation:rule="!has(self.request) || !has(self.perTry) || !self.request.matches('[1-9]') || duration(self.perTry) <= duration(self.request)",fieldPath=".perTry",message="one try may take longer than the whole request: make perTry the shorter"
type Timeouts struct {
	// Request is the whole request, retries included; at its end it is answered 504. Default none.
	Request *Duration `json:"request,omitempty"`
	// PerTry is one try; at its end the next one is made, or the request answered 504. Default none.
	PerTry *Duration `json:"perTry,omitempty"`
	// Idle ends a request, or a TCP connection, on which nothing moved for so long. Default none.
	Idle *Duration `json:"idle,omitempty"`
	// Connect is reaching an endpoint, its handshake included. Default 5s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 2s"
	Connect *Duration `json:"connect,omitempty"`
}

// Retries of failed tries, at other endpoints where there are any.
type Retries struct {
	// Attempts after the first try. Default 2; 0 switches retries off.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 25",message="not a number of retries: write 0 to 25"
	Attempts *int32 `json:"attempts,omitempty"`
	// Conditions are failures that are retried. Default ConnectFailure, RefusedStream and Reset.
	//
	// +kubebuilder:validation:MaxItems=5
	// +listType=set
	Conditions []RetryCondition `json:"conditions,omitempty"`
	// StatusCodes of answers that are retried as well.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:XValidation:rule="self >= 400 && self <= 599",message="not the status of a failure: write 400 to 599"
	// +listType=set
	StatusCodes []int32 `json:"statusCodes,omitempty"`
	// GRPCCodes of gRPC answers that are retried as well.
	//
	// +kubebuilder:validation:MaxItems=5
	// +listType=set
	GRPCCodes []GRPCCode `json:"grpcCodes,omitempty"`
	// Methods that may be repeated; "*" is all of them. Default GET, HEAD and OPTIONS, and with grpcCodes also gRPC calls.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([*]|[A-Z]+)$')",message="not a method: write it in capitals, or *"
	// +listType=set
	Methods []string `json:"methods,omitempty"`
	// Backoff between tries.
	Backoff *Backoff `json:"backoff,omitempty"`
	// Budget bounds how many retries may be under way to the Service at once. Default no bound.
	Budget *RetryBudget `json:"budget,omitempty"`
}

// RetryCondition is a kind of failure.
//
// +kubebuilder:validation:Enum=ConnectFailure;RefusedStream;Reset;GatewayError;ServerError
type RetryCondition string

// Kinds of failure.
const (
	// RetryConnectFailure is an endpoint that was not reached.
	RetryConnectFailure RetryCondition = "ConnectFailure"
	// RetryRefusedStream is a request that the endpoint did not begin.
	RetryRefusedStream RetryCondition = "RefusedStream"
	// RetryReset is a connection that ended before the answer; the application may have seen the request.
	RetryReset RetryCondition = "Reset"
	// RetryGatewayError is an answer 502, 503 or 504, or none.
	RetryGatewayError RetryCondition = "GatewayError"
	// RetryServerError is an answer 500 to 599, or none.
	RetryServerError RetryCondition = "ServerError"
)

// GRPCCode is the status of a failed gRPC call.
//
// +kubebuilder:validation:Enum=Cancelled;DeadlineExceeded;Internal;ResourceExhausted;Unavailable
type GRPCCode string

// Backoff grows at random from Base, doubled each time, to Max.
//
// +kubebuilder:validation:XValidation:rule="!has(self.max) || !self.max.matches('[1-9]') || duration(self.max) >= duration(self.base)",fieldPath=".max",message="the longest wait is shorter than the first: make max the longer"
type Backoff struct {
	// Base is the first wait, at most.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 25ms"
	Base Duration `json:"base"`
	// Max is the longest wait. Default ten times Base.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 250ms"
	Max *Duration `json:"max,omitempty"`
}

// RetryBudget bounds retries by what else is under way, so that they cannot multiply an outage.
type RetryBudget struct {
	// Percent of the Service's requests under way that may be retries. Default 20.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percent *float64 `json:"percent,omitempty"`
	// MinConcurrent retries are allowed however little is under way. Default 3.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 10000",message="not a number of retries: write 0 to 10000"
	MinConcurrent *int32 `json:"minConcurrent,omitempty"`
}
