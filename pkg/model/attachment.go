package model

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

// Target is what a policy is attached to. Of several policies of one kind that concern a request, the one with
// the narrowest target counts: a rule before its route, that before a port of the service, the service, and
// everything behind the waypoint.
type Target struct {
	Service  string `json:"service,omitempty"`  // Service.Key()
	Port     uint16 `json:"port,omitempty"`     // of the service; 0 means all
	Route    string `json:"route,omitempty"`    // Route.Key()
	Rule     string `json:"rule,omitempty"`     // name of a rule of the route; empty means all
	Waypoint string `json:"waypoint,omitempty"` // Waypoint.Key()
}

// Breadth orders targets: the narrowest is least.
func (t Target) Breadth() int {
	switch {
	case t.Rule != "":
		return 0
	case t.Route != "":
		return 1
	case t.Port != 0:
		return 2
	case t.Service != "":
		return 3
	}
	return 4
}

// String names the target as a person would.
func (t Target) String() string {
	switch {
	case t.Rule != "":
		return t.Route + " rule " + t.Rule
	case t.Route != "":
		return t.Route
	case t.Port != 0:
		return "Service " + t.Service + " port " + strconv.Itoa(int(t.Port))
	case t.Service != "":
		return "Service " + t.Service
	}
	return "Gateway " + t.Waypoint
}

// Attachment is one policy at one of its targets. Exactly one of the last fields is set, as Kind says.
type Attachment struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Target    Target    `json:"target"`
	Created   time.Time `json:"created,omitzero"`

	Traffic        *TrafficPolicy         `json:"traffic,omitempty"`
	RateLimit      *RateLimit             `json:"rateLimit,omitempty"`
	Authentication *RequestAuthentication `json:"authentication,omitempty"`
	Telemetry      *Telemetry             `json:"telemetry,omitempty"`
	Extension      *Extension             `json:"extension,omitempty"`
	Patch          *EnvoyPatch            `json:"patch,omitempty"`
}

// Key identifies an attachment: Kind/namespace/name@target.
func (a *Attachment) Key() string {
	return a.Kind + "/" + a.Namespace + "/" + a.Name + "@" + a.Target.String()
}

// Compare puts the narrowest target first, then the oldest, then the order of names.
func (a *Attachment) Compare(o *Attachment) int {
	return cmp.Or(a.Target.Breadth()-o.Target.Breadth(), a.Created.Compare(o.Created), strings.Compare(a.Key(), o.Key()))
}
