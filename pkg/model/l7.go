package model

import (
	"net/netip"
	"time"
)

// Waypoint is one Envoy deployment that enforces L7 for services or workloads.
type Waypoint struct {
	Namespace      string       `json:"namespace"`
	Name           string       `json:"name"`
	ServiceAccount string       `json:"serviceAccount"`
	TrustDomain    string       `json:"trustDomain"`
	Hostname       string       `json:"hostname"`  // of its Service
	Addresses      []netip.Addr `json:"addresses"` // of its Service
	For            string       `json:"for"`       // service, workload, all, none
}

// Key identifies a waypoint: namespace/name of its Gateway.
func (w *Waypoint) Key() string { return w.Namespace + "/" + w.Name }

// Route is a route of Gateway API attached to a service (GAMMA), normalised. TCPRoute and TLSRoute are routes of
// connections: their first rule's backends count, and hostnames are what clients name in the TLS handshake.
type Route struct {
	Namespace string      `json:"namespace"`
	Name      string      `json:"name"`
	Kind      string      `json:"kind"`    // HTTPRoute, GRPCRoute, TCPRoute, TLSRoute
	Service   string      `json:"service"` // Service.Key() of the parent
	Port      uint16      `json:"port"`    // service port; 0 means all
	Hostnames []string    `json:"hostnames,omitempty"`
	Created   time.Time   `json:"created,omitzero"` // older routes win ties
	Rules     []RouteRule `json:"rules,omitempty"`
}

// Key identifies a route: kind/namespace/name.
func (r *Route) Key() string { return r.Kind + "/" + r.Namespace + "/" + r.Name }

// L4 reports whether the route is one of connections.
func (r *Route) L4() bool { return IsL4Route(r.Kind) }

// IsL4Route reports whether a kind of route is one of connections.
func IsL4Route(kind string) bool { return kind == "TCPRoute" || kind == "TLSRoute" }

// RouteRule is a list of matches (any of them; none means everything) and what to do.
type RouteRule struct {
	Name        string        `json:"name,omitempty"`
	Matches     []RouteMatch  `json:"matches,omitempty"`
	RequestHdr  HeaderChange  `json:"requestHeaders,omitzero"`
	ResponseHdr HeaderChange  `json:"responseHeaders,omitzero"`
	Redirect    *Redirect     `json:"redirect,omitempty"`
	Rewrite     *Rewrite      `json:"rewrite,omitempty"`
	CORS        *CORS         `json:"cors,omitempty"`
	Filters     []HTTPFilter  `json:"filters,omitempty"` // no two of one kind but changes of headers
	Mirrors     []Backend     `json:"mirrors,omitempty"` // Weight is a percentage ×1000 of requests
	Backends    []Backend     `json:"backends,omitempty"`
	Timeout     time.Duration `json:"timeout,omitempty"`        // whole request; 0 none
	NoTimeout   bool          `json:"noTimeout,omitempty"`      // none, whatever policies say
	TryTimeout  time.Duration `json:"backendTimeout,omitempty"` // one attempt; 0 none
	Retry       *Retry        `json:"retry,omitempty"`
	Session     *Session      `json:"session,omitempty"`
	// Invalid says why this rule cannot be served; its requests are answered 500.
	Invalid string `json:"invalid,omitempty"`
}

// Callers are those that the rule is for; none: everybody.
func (r *RouteRule) Callers() []CallerMatch {
	for _, f := range r.Filters {
		if len(f.Callers) > 0 {
			return f.Callers
		}
	}
	return nil
}

// Retry of failed attempts.
type Retry struct {
	Attempts uint32        `json:"attempts"`
	Codes    []uint32      `json:"codes,omitempty"`
	Backoff  time.Duration `json:"backoff,omitempty"`
}

// Session keeps a caller at the endpoint that answered it first, which a cookie or a header names.
type Session struct {
	Cookie string        `json:"cookie,omitempty"`
	TTL    time.Duration `json:"ttl,omitempty"` // of the cookie; 0 until the browser is closed
	Header string        `json:"header,omitempty"`
}

// RouteMatch is a conjunction of conditions on a request.
type RouteMatch struct {
	PathKind MatchPath   `json:"pathKind,omitempty"`
	Path     string      `json:"path,omitempty"`
	Method   string      `json:"method,omitempty"`
	Headers  []NameMatch `json:"headers,omitempty"`
	Query    []NameMatch `json:"query,omitempty"`
}

// MatchPath is the kind of a path match.
type MatchPath string

// Path match kinds.
const (
	PathAny    MatchPath = ""
	PathExact  MatchPath = "exact"
	PathPrefix MatchPath = "prefix" // by whole segments
	PathRegex  MatchPath = "regex"  // RE2, whole path
)

// NameMatch compares one header or query parameter.
type NameMatch struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Regex bool   `json:"regex,omitempty"`
}

// HeaderChange sets, adds and removes headers.
type HeaderChange struct {
	Set    []Header `json:"set,omitempty"`
	Add    []Header `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// Header is a name and its value.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Redirect answers with a location instead of forwarding.
type Redirect struct {
	Scheme, Host string
	Port         uint16 // 0: by scheme or as the request
	Code         uint32 // 301, 302, 303, 307, 308
	FullPath     *string
	PrefixPath   *string
}

// Rewrite changes host or path before forwarding.
type Rewrite struct {
	Host       string
	FullPath   *string
	PrefixPath *string
}

// Backend is where a share of requests goes.
type Backend struct {
	Service     string       `json:"service"` // Service.Key()
	Port        uint16       `json:"port"`    // service port
	Weight      uint32       `json:"weight"`
	RequestHdr  HeaderChange `json:"requestHeaders,omitzero"`
	ResponseHdr HeaderChange `json:"responseHeaders,omitzero"`
	Filters     []HTTPFilter `json:"filters,omitempty"` // of headers, on its share of requests
	Invalid     string       `json:"invalid,omitempty"` // its share of requests is answered 500
}

// L7Policy is an AuthorizationPolicy that a waypoint enforces: for a service, for everything behind it, or
// on behalf of the workloads that it calls.
type L7Policy struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Action    Action `json:"action"`
	DryRun    bool   `json:"dryRun,omitempty"`
	Service   string `json:"service,omitempty"`  // Service.Key(); empty: whole waypoint
	Waypoint  string `json:"waypoint,omitempty"` // Waypoint.Key() when the Gateway is targeted
	// Workloads says that the policy binds workloads (by selector, namespace or mesh: Snapshot.Bindings) and
	// neither a service nor a waypoint. Ports in it are then those of workloads, not of services.
	Workloads bool     `json:"workloads,omitempty"`
	Rules     []L7Rule `json:"rules,omitempty"`
	// External is whom to ask about the requests that match, instead of refusing them. Action is Deny then, so
	// that whoever cannot ask refuses.
	External *ExternalAuthorization `json:"external,omitempty"`
}

// Key identifies a policy: namespace/name.
func (p *L7Policy) Key() string { return p.Namespace + "/" + p.Name }

// L7Rule matches when one of From (if any) and one of To (if any) match.
type L7Rule struct {
	From []Match       `json:"from,omitempty"` // source half of Match
	To   []L7Operation `json:"to,omitempty"`
}

// L7Operation is a conjunction over the request. Strings are in the notation of ParseStringMatch.
type L7Operation struct {
	Ports      []uint16          `json:"ports,omitempty"`
	NotPorts   []uint16          `json:"notPorts,omitempty"`
	Hosts      []StringMatch     `json:"hosts,omitempty"`
	NotHosts   []StringMatch     `json:"notHosts,omitempty"`
	Methods    []StringMatch     `json:"methods,omitempty"`
	NotMethods []StringMatch     `json:"notMethods,omitempty"`
	Paths      []StringMatch     `json:"paths,omitempty"`
	NotPaths   []StringMatch     `json:"notPaths,omitempty"`
	Headers    []HeaderCondition `json:"headers,omitempty"` // all of them hold
}

// HeaderCondition compares one header, by its lower-case name. One that is not there has no value.
type HeaderCondition struct {
	Name      string        `json:"name"`
	Values    []StringMatch `json:"values,omitempty"`
	NotValues []StringMatch `json:"notValues,omitempty"`
}

// ExternalAuthorization is a service of the mesh that decides on requests.
type ExternalAuthorization struct {
	Backend           Backend       `json:"backend"`
	HTTP              bool          `json:"http,omitempty"` // by HTTP, else by gRPC
	Timeout           time.Duration `json:"timeout"`
	FailOpen          bool          `json:"failOpen,omitempty"`
	StatusOnError     uint32        `json:"statusOnError"`
	PathPrefix        string        `json:"pathPrefix,omitempty"`
	HeadersToService  []string      `json:"headersToService,omitempty"`
	HeadersToUpstream []string      `json:"headersToUpstream,omitempty"`
	HeadersToClient   []string      `json:"headersToClient,omitempty"`
	BodyBytes         uint32        `json:"bodyBytes,omitempty"` // 0: the body is not shown
	PartialBody       bool          `json:"partialBody,omitempty"`
}

// Fault injects failures into the requests of a target.
type Fault struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Target
	Rules []FaultRule `json:"rules"`
}

// Key identifies a fault: namespace/name.
func (f *Fault) Key() string { return f.Namespace + "/" + f.Name }

// FaultRule applies to requests that match one of Matches (none: all); the first rule that matches wins.
type FaultRule struct {
	From         []CallerMatch `json:"from,omitempty"` // any of these callers; none: all
	Matches      []RouteMatch  `json:"matches,omitempty"`
	AbortPercent float64       `json:"abortPercent,omitempty"` // 0–100
	AbortStatus  uint32        `json:"abortStatus,omitempty"`  // HTTP status
	AbortGRPC    *uint32       `json:"abortGRPC,omitempty"`    // gRPC status instead
	DelayPercent float64       `json:"delayPercent,omitempty"` // 0–100
	Delay        time.Duration `json:"delay,omitempty"`
	Spread       *Spread       `json:"spread,omitempty"` // of the delays around Delay; nil: none
	// BandwidthPercent of the answers, 0–100, come at Bandwidth bytes/s.
	BandwidthPercent float64 `json:"bandwidthPercent,omitempty"`
	Bandwidth        uint64  `json:"bandwidth,omitempty"`
}

// Spread is how delays differ.
type Spread struct {
	Kind      string        `json:"kind"` // Normal, Uniform, Exponential
	Deviation time.Duration `json:"deviation,omitempty"`
	Max       time.Duration `json:"max,omitempty"` // 0: no limit
}
