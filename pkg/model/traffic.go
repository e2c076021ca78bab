package model

import (
	"cmp"
	"time"
)

// TrafficPolicy is how requests and connections to a target are carried. A field that is nil or zero says
// nothing: a wider policy, or the default, does.
type TrafficPolicy struct {
	// Of requests.
	Timeouts *Timeouts         `json:"timeouts,omitempty"`
	Retries  *Retries          `json:"retries,omitempty"`
	Subset   map[string]string `json:"subset,omitempty"` // labels; Workload.Labels holds those that any policy names

	// Of connections; on targets that are a service or a port of one.
	Balance   *Balance          `json:"balance,omitempty"`
	Locality  *LocalityPolicy   `json:"locality,omitempty"`
	Limits    *ConnectionLimits `json:"limits,omitempty"`
	Outliers  *Outliers         `json:"outliers,omitempty"`
	Keepalive *Keepalive        `json:"keepalive,omitempty"`
	Protocol  AppProtocol       `json:"protocol,omitempty"` // AppHTTP (1.1) or AppHTTP2
	HTTP2     *HTTP2            `json:"http2,omitempty"`
	TLS       *BackendTLS       `json:"tls,omitempty"` // to endpoints outside the mesh

	Checks []HealthCheck `json:"checks,omitempty"`
}

// Timeouts: nil says nothing, 0 is no bound.
type Timeouts struct {
	Request *time.Duration `json:"request,omitempty"`
	PerTry  *time.Duration `json:"perTry,omitempty"`
	Idle    *time.Duration `json:"idle,omitempty"`
	Connect time.Duration  `json:"connect,omitempty"` // 0 says nothing
}

// RetryCondition is a kind of failure.
type RetryCondition string

// Kinds of failure.
const (
	RetryConnectFailure RetryCondition = "connectFailure"
	RetryRefusedStream  RetryCondition = "refusedStream"
	RetryReset          RetryCondition = "reset"
	RetryGatewayError   RetryCondition = "gatewayError"
	RetryServerError    RetryCondition = "serverError"
)

// Retries of failed tries.
type Retries struct {
	Attempts uint32           `json:"attempts"` // after the first; 0 none
	On       []RetryCondition `json:"conditions,omitempty"`
	Codes    []uint32         `json:"codes,omitempty"`   // statuses of answers, sorted
	GRPC     []string         `json:"grpc,omitempty"`    // cancelled, deadline-exceeded, internal, resource-exhausted, unavailable
	Methods  []string         `json:"methods,omitempty"` // none: all
	Base     time.Duration    `json:"base,omitempty"`    // of the backoff; 0 default
	Max      time.Duration    `json:"max,omitempty"`     // of the backoff
	Budget   *RetryBudget     `json:"budget,omitempty"`  // of the service
}

// RetryBudget bounds retries by what else is under way.
type RetryBudget struct {
	Percent       float64 `json:"percent"`
	MinConcurrent uint32  `json:"minConcurrent"`
}

// Algorithm chooses an endpoint.
type Algorithm string

// Algorithms. The empty one says nothing.
const (
	RoundRobin       Algorithm = "roundRobin"
	LeastRequest     Algorithm = "leastRequest"
	LeastConnections Algorithm = "leastConnections"
	RandomEndpoint   Algorithm = "random"
	RingHash         Algorithm = "ringHash"
	Maglev           Algorithm = "maglev"
)

// Balance is how an endpoint is chosen.
type Balance struct {
	Algorithm Algorithm  `json:"algorithm,omitempty"`
	Hash      *Hash      `json:"hash,omitempty"` // with RingHash and Maglev
	SlowStart *SlowStart `json:"slowStart,omitempty"`
	Panic     uint32     `json:"panic,omitempty"` // percentage of ready endpoints below which all are used
}

// Hash is what a hash is made of: one of its fields.
type Hash struct {
	Header   string        `json:"header,omitempty"`
	Query    string        `json:"query,omitempty"`
	Cookie   string        `json:"cookie,omitempty"`
	TTL      time.Duration `json:"ttl,omitempty"`  // of the cookie
	Path     string        `json:"path,omitempty"` // of the cookie
	SourceIP bool          `json:"sourceIP,omitempty"`
	Identity bool          `json:"identity,omitempty"`
}

// SlowStart raises a new endpoint's share over a window.
type SlowStart struct {
	Window     time.Duration `json:"window"`
	Aggression float64       `json:"aggression"` // 1 is evenly
	MinPercent uint32        `json:"minPercent"`
}

// LocalityPolicy is which endpoints are chosen from first.
type LocalityPolicy struct {
	Prefer     []Scope                      `json:"prefer,omitempty"`
	Failover   []string                     `json:"failover,omitempty"`   // zones, the first one before the second
	Distribute map[string]map[string]uint32 `json:"distribute,omitempty"` // percent by zone, by the zone it comes from; "*" any other
}

// ConnectionLimits are of one proxy. Nil is no limit.
type ConnectionLimits struct {
	Connections           *uint32 `json:"connections,omitempty"`
	PerEndpoint           *uint32 `json:"perEndpoint,omitempty"`
	Pending               *uint32 `json:"pending,omitempty"`
	Requests              *uint32 `json:"requests,omitempty"`
	Retries               *uint32 `json:"retries,omitempty"`
	RequestsPerConnection uint32  `json:"requestsPerConnection,omitempty"` // 0 no limit
}

// Outliers ejects endpoints that fail. A counter that is 0 is not counted.
type Outliers struct {
	ServerErrors    uint32        `json:"serverErrors,omitempty"`
	GatewayErrors   uint32        `json:"gatewayErrors,omitempty"`
	ConnectFailures uint32        `json:"connectFailures,omitempty"`
	SuccessRate     *SuccessRate  `json:"successRate,omitempty"`
	Interval        time.Duration `json:"interval"`
	BaseEjection    time.Duration `json:"baseEjection"`
	MaxEjection     time.Duration `json:"maxEjection"`
	MaxPercent      uint32        `json:"maxPercent"`
}

// SuccessRate compares endpoints.
type SuccessRate struct {
	Hosts      uint32 `json:"hosts"`
	Requests   uint32 `json:"requests"`
	Deviations uint32 `json:"deviations"` // thousandths
}

// Keepalive of TCP.
type Keepalive struct {
	Time     time.Duration `json:"time"`
	Interval time.Duration `json:"interval"`
	Probes   uint32        `json:"probes"`
}

// BackendTLS is how endpoints outside the mesh are called by TLS.
type BackendTLS struct {
	ServerName string   `json:"serverName"`
	Names      []string `json:"names,omitempty"`    // of which the certificate has to hold one; none: ServerName
	Roots      string   `json:"roots,omitempty"`    // whom to trust, in PEM; empty: the public roots
	Identity   bool     `json:"identity,omitempty"` // the waypoint shows its own certificate, if it is asked for one
	// Broken says why it cannot be done; such endpoints are not called then.
	Broken string `json:"broken,omitempty"`
}

// HTTP2 tunes connections. 0 says nothing.
type HTTP2 struct {
	Streams          uint32 `json:"streams,omitempty"`
	StreamWindow     uint32 `json:"streamWindow,omitempty"`
	ConnectionWindow uint32 `json:"connectionWindow,omitempty"`
}

// HealthCheck asks an endpoint, on its own node, whether it is well.
type HealthCheck struct {
	Kind      CheckKind     `json:"kind"`
	Port      uint16        `json:"port,omitempty"`     // of the workload; 0: where the target's port leads
	Path      string        `json:"path,omitempty"`     // HTTP
	Host      string        `json:"host,omitempty"`     // HTTP
	Statuses  []uint32      `json:"statuses,omitempty"` // HTTP; none: 200 to 399
	Service   string        `json:"service,omitempty"`  // gRPC
	Interval  time.Duration `json:"interval"`
	Timeout   time.Duration `json:"timeout"`
	Unhealthy uint32        `json:"unhealthy"` // failures in a row
	Healthy   uint32        `json:"healthy"`   // successes in a row
}

// CheckKind is how an endpoint is asked.
type CheckKind string

// Kinds of check.
const (
	CheckHTTP CheckKind = "http"
	CheckGRPC CheckKind = "grpc"
	CheckTCP  CheckKind = "tcp"
)

// Over is the policy with what it does not say taken from a wider one. Either may be nil.
func (p *TrafficPolicy) Over(wider *TrafficPolicy) *TrafficPolicy {
	if p == nil || wider == nil {
		return cmp.Or(p, wider)
	}
	out := *p
	out.Timeouts = cmp.Or(p.Timeouts, wider.Timeouts)
	out.Retries = cmp.Or(p.Retries, wider.Retries)
	out.Balance = cmp.Or(p.Balance, wider.Balance)
	out.Locality = cmp.Or(p.Locality, wider.Locality)
	out.Limits = cmp.Or(p.Limits, wider.Limits)
	out.Outliers = cmp.Or(p.Outliers, wider.Outliers)
	out.Keepalive = cmp.Or(p.Keepalive, wider.Keepalive)
	out.Protocol = cmp.Or(p.Protocol, wider.Protocol)
	out.HTTP2 = cmp.Or(p.HTTP2, wider.HTTP2)
	out.TLS = cmp.Or(p.TLS, wider.TLS)
	if out.Subset == nil {
		out.Subset = wider.Subset
	}
	if out.Checks == nil {
		out.Checks = wider.Checks
	}
	return &out
}
