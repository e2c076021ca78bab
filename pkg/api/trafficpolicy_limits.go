package api

// ConnectionLimits bound what one proxy (each pod of a waypoint; between ztunnels, each node's) has under
// way to the Service. A limit that is left out is none.
//
// +kubebuilder:validation:XValidation:rule="has(self.maxConnections) || has(self.maxConnectionsPerEndpoint) || has(self.maxPendingRequests) || has(self.maxRequests) || has(self.maxRetries) || has(self.maxRequestsPerConnection)",message="it limits nothing: write e.g. maxConnections"
type ConnectionLimits struct {
	// MaxConnections to all endpoints together. HTTP requests beyond wait for one, as MaxPendingRequests allows.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a limit: write 1 to 1000000"
	MaxConnections *int32 `json:"maxConnections,omitempty"`
	// MaxConnectionsPerEndpoint to each, likewise.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a limit: write 1 to 1000000"
	MaxConnectionsPerEndpoint *int32 `json:"maxConnectionsPerEndpoint,omitempty"`
	// MaxPendingRequests that wait for a connection, those for which a new one is being made among them: a small number
	// refuses requests to a service that was idle. Left out: any number may wait.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a limit: write 1 to 1000000; requests wait while their connection is made, so that 0 would refuse all"
	MaxPendingRequests *int32 `json:"maxPendingRequests,omitempty"`
	// MaxRequests under way.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a limit: write 1 to 1000000"
	MaxRequests *int32 `json:"maxRequests,omitempty"`
	// MaxRetries under way; a retry budget takes its place.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 1000000",message="not a limit: write 0 to 1000000"
	MaxRetries *int32 `json:"maxRetries,omitempty"`
	// MaxRequestsPerConnection, after which it is closed and another one opened.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a limit: write 1 to 1000000"
	MaxRequestsPerConnection *int32 `json:"maxRequestsPerConnection,omitempty"`
}

// OutlierDetection ejects endpoints that fail, for a while. Each proxy judges by what it saw itself.
//
// +kubebuilder:validation:XValidation:rule="has(self.consecutiveServerErrors) || has(self.consecutiveGatewayErrors) || has(self.consecutiveConnectFailures) || has(self.successRate)",message="nothing is counted: write e.g. consecutiveServerErrors: 5"
// +kubebuilder:validation:XValidation:rule="!has(self.maxEjectionTime) || !has(self.baseEjectionTime) || duration(self.maxEjectionTime) >= duration(self.baseEjectionTime)",fieldPath=".maxEjectionTime",message="the longest ejection is shorter than the first: make maxEjectionTime the longer"
type OutlierDetection struct {
	// ConsecutiveServerErrors are answers 500 to 599, or none, in a row.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10000",message="not a number of errors: write 1 to 10000"
	ConsecutiveServerErrors *int32 `json:"consecutiveServerErrors,omitempty"`
	// ConsecutiveGatewayErrors are answers 502, 503 or 504, or none, in a row.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10000",message="not a number of errors: write 1 to 10000"
	ConsecutiveGatewayErrors *int32 `json:"consecutiveGatewayErrors,omitempty"`
	// ConsecutiveConnectFailures are connections in a row that did not come about. A waypoint counts them as gateway errors.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10000",message="not a number of failures: write 1 to 10000"
	ConsecutiveConnectFailures *int32 `json:"consecutiveConnectFailures,omitempty"`
	// SuccessRate ejects whoever fails clearly more than the others.
	SuccessRate *SuccessRate `json:"successRate,omitempty"`
	// Interval between looks at success rates and at who may return. Default 10s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 10s"
	Interval *Duration `json:"interval,omitempty"`
	// BaseEjectionTime is how long the first ejection lasts, the second twice that, and so on. Default 30s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 30s"
	BaseEjectionTime *Duration `json:"baseEjectionTime,omitempty"`
	// MaxEjectionTime of any ejection. Default 5m, or BaseEjectionTime where that is longer.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 5m"
	MaxEjectionTime *Duration `json:"maxEjectionTime,omitempty"`
	// MaxEjectionPercent of the endpoints may be ejected at once; one always may. Default 50.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="not a percentage of endpoints: write 1 to 100"
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`
}

// SuccessRate compares endpoints. Waypoints alone know it.
type SuccessRate struct {
	// MinimumHosts with enough requests, below which nothing is compared. Default 5.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 10000",message="not a number of endpoints: write 1 to 10000"
	MinimumHosts *int32 `json:"minimumHosts,omitempty"`
	// RequestVolume in an interval that is enough. Default 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 1000000",message="not a number of requests: write 1 to 1000000"
	RequestVolume *int32 `json:"requestVolume,omitempty"`
	// Deviations from the mean, in thousandths of a standard deviation, that are too many. Default 1900.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100000",message="not thousandths of a standard deviation: write 1 to 100000, e.g. 1900"
	Deviations *int32 `json:"deviations,omitempty"`
}

// TCPKeepalive probes connections on which nothing moves.
type TCPKeepalive struct {
	// Time until the first probe. Default 60s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9][0-9]*(s|m|h)')",message="counted in whole seconds: write e.g. 60s"
	Time *Duration `json:"time,omitempty"`
	// Interval between probes. Default 10s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9][0-9]*(s|m|h)')",message="counted in whole seconds: write e.g. 10s"
	Interval *Duration `json:"interval,omitempty"`
	// Probes without an answer, after which the connection is dead. Default 3.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 127",message="not a number of probes: write 1 to 127"
	Probes *int32 `json:"probes,omitempty"`
}

// HTTP2 tunes connections to applications that speak it.
type HTTP2 struct {
	// MaxConcurrentStreams on a connection; further requests open another. Default what the application allows.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 2147483647",message="not a number of streams: write 1 or more"
	MaxConcurrentStreams *int32 `json:"maxConcurrentStreams,omitempty"`
	// InitialStreamWindow in bytes. Default 1 MiB.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 65535 && self <= 2147483647",message="not a window in bytes: write 65535 or more"
	InitialStreamWindow *int32 `json:"initialStreamWindow,omitempty"`
	// InitialConnectionWindow in bytes. Default 16 MiB.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 65535 && self <= 2147483647",message="not a window in bytes: write 65535 or more"
	InitialConnectionWindow *int32 `json:"initialConnectionWindow,omitempty"`
}

// HealthCheck asks an endpoint, on its own node, whether it is well.
//
// +kubebuilder:validation:XValidation:rule="[has(self.http), has(self.grpc), has(self.tcp)].filter(x, x).size() == 1",message="a check is of one kind: write one of http, grpc and tcp"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || duration(self.timeout) <= (has(self.interval) ? duration(self.interval) : duration('10s'))",fieldPath=".timeout",message="a check may take longer than until the next one: make timeout the shorter"
type HealthCheck struct {
	// HTTP is a GET.
	HTTP *HTTPHealthCheck `json:"http,omitempty"`
	// GRPC is the call grpc.health.v1.Health/Check.
	GRPC *GRPCHealthCheck `json:"grpc,omitempty"`
	// TCP is a connection that comes about.
	TCP *TCPHealthCheck `json:"tcp,omitempty"`
	// Port of the pod. Default what the target port, or the Service's first port, leads to.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 65535",message="not a port: write 1 to 65535"
	Port *int32 `json:"port,omitempty"`
	// Interval between checks. Default 10s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 10s"
	Interval *Duration `json:"interval,omitempty"`
	// Timeout of a check. Default 1s.
	//
	// +kubebuilder:validation:XValidation:rule="self.matches('[1-9]')",message="it lasts no time: write e.g. 1s"
	Timeout *Duration `json:"timeout,omitempty"`
	// UnhealthyThreshold is how many checks in a row have to fail. Default 3.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="not a number of checks: write 1 to 100"
	UnhealthyThreshold *int32 `json:"unhealthyThreshold,omitempty"`
	// HealthyThreshold is how many checks in a row have to succeed after that. Default 1.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 100",message="not a number of checks: write 1 to 100"
	HealthyThreshold *int32 `json:"healthyThreshold,omitempty"`
}

// HTTPHealthCheck is a GET.
type HTTPHealthCheck struct {
	// Path that is asked for.
	//
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="a path begins with /"
	Path string `json:"path"`
	// Host header. Default the Service's host name.
	//
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host,omitempty"`
	// Statuses that are well. Default 200 to 399.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self >= 100 && self <= 599",message="not an HTTP status: write 100 to 599"
	// +listType=set
	Statuses []int32 `json:"statuses,omitempty"`
}

// GRPCHealthCheck calls grpc.health.v1.Health/Check.
type GRPCHealthCheck struct {
	// Service that is asked about. Default the server as a whole.
	//
	// +kubebuilder:validation:MaxLength=253
	Service string `json:"service,omitempty"`
}

// TCPHealthCheck connects.
type TCPHealthCheck struct{}
