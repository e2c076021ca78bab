package model

import "time"

// RateLimit is how many requests a target is asked.
type RateLimit struct {
	Rules   []LimitRule  `json:"rules"`
	Global  *GlobalLimit `json:"global,omitempty"` // nil: each pod of the waypoint counts by itself
	Headers bool         `json:"headers,omitempty"`
	DryRun  bool         `json:"dryRun,omitempty"`
	MaxKeys uint32       `json:"maxKeys,omitempty"`
	// Broken says why it cannot be enforced; requests are refused then.
	Broken string `json:"broken,omitempty"`
}

// Closed reports whether a limit that cannot be enforced refuses everything.
func (l *RateLimit) Closed() bool { return !l.DryRun && (l.Global == nil || !l.Global.FailOpen) }

// LimitRule counts the requests that match, each set of values of By by itself.
type LimitRule struct {
	Requests uint32        `json:"requests"`
	Per      time.Duration `json:"per"` // 1 s, 1 min, 1 h or 24 h
	Burst    uint32        `json:"burst,omitempty"`
	From     []CallerMatch `json:"from,omitempty"` // any of these callers; none: all
	Match    *RouteMatch   `json:"match,omitempty"`
	By       []LimitKey    `json:"by,omitempty"`
}

// Properties of a request that limits count by.
const (
	LimitIdentity  = "Identity"
	LimitNamespace = "Namespace"
	LimitAddress   = "Address"
	LimitMethod    = "Method"
	LimitPath      = "Path"
	LimitHost      = "Host"
	LimitHeader    = "Header"
)

// Narrowed reports whether the rule counts only some requests.
func (r *LimitRule) Narrowed() bool { return r.Match != nil || len(r.From) > 0 }

// LimitKey is a property of a request; Name is of a header.
type LimitKey struct {
	Type string `json:"type"`
	Name string `json:"name,omitempty"`
}

// GlobalLimit is a rate limit service of the mesh.
type GlobalLimit struct {
	Service  ServicePort   `json:"service"`
	Domain   string        `json:"domain"`
	FailOpen bool          `json:"failOpen,omitempty"`
	Timeout  time.Duration `json:"timeout"`
}
