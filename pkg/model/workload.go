// Package model is what the mesh knows, as plain data.
//
// The controller compiles Kubernetes objects and Weft's own into one Snapshot; ztunnels receive its
// Workloads, Services and Policies over delta ADS, waypoints the Envoy configuration translated from it.
// Nothing here does I/O or decides: decisions live in pkg/policy, lookups in pkg/index. A value that
// was published is never changed afterwards; whoever wants another makes a new one.
package model

import (
	"net/netip"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
)

// Protocol says how a workload is reached.
type Protocol uint8

const (
	// Plain workloads are outside the mesh: TCP as it is.
	Plain Protocol = iota
	// HBONE workloads are reached through the tunnel on port 15008.
	HBONE
)

// AppProtocol is what the application speaks on a service port.
type AppProtocol string

// Application protocols. Unknown ports are sniffed by the waypoint.
const (
	AppUnknown AppProtocol = ""
	AppHTTP    AppProtocol = "http"
	AppHTTP2   AppProtocol = "http2"
	AppGRPC    AppProtocol = "grpc"
	AppTCP     AppProtocol = "tcp"
	AppTLS     AppProtocol = "tls"
)

// HTTP reports whether an HTTP protocol is declared.
func (p AppProtocol) HTTP() bool { return p == AppHTTP || p == AppHTTP2 || p == AppGRPC }

// Locality is where a workload runs.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Subzone string `json:"subzone,omitempty"`
}

// Gateway names a waypoint: by service hostname (preferred) or by address.
type Gateway struct {
	Namespace string     `json:"namespace,omitempty"`
	Hostname  string     `json:"hostname,omitempty"`
	Address   netip.Addr `json:"address,omitzero"`
	Port      uint16     `json:"port"` // HBONE port, 15008
}

// Port maps a service port to the port that the workload listens on.
type Port struct {
	ServicePort uint16      `json:"servicePort"`
	TargetPort  uint16      `json:"targetPort"`
	App         AppProtocol `json:"appProtocol,omitempty"`
	Name        string      `json:"name,omitempty"` // empty where the wire format does not carry it
}

// Workload is one running instance: a pod.
type Workload struct {
	UID            string            `json:"uid"` // unique in the mesh: <cluster>//Pod/<namespace>/<name>
	Name           string            `json:"name"`
	Namespace      string            `json:"namespace"`
	ServiceAccount string            `json:"serviceAccount"`
	TrustDomain    string            `json:"trustDomain"`
	Addresses      []netip.Addr      `json:"addresses,omitempty"`
	Hostname       string            `json:"hostname,omitempty"`
	Network        string            `json:"network,omitempty"`
	Node           string            `json:"node,omitempty"`
	Cluster        string            `json:"cluster,omitempty"`
	Locality       Locality          `json:"locality,omitzero"`
	Protocol       Protocol          `json:"protocol"`
	NativeTunnel   bool              `json:"nativeTunnel,omitempty"` // the workload itself terminates HBONE (a waypoint)
	Waypoint       *Gateway          `json:"waypoint,omitempty"`
	CanonicalName  string            `json:"canonicalName,omitempty"`
	CanonicalRev   string            `json:"canonicalRevision,omitempty"`
	OwnerKind      string            `json:"ownerKind,omitempty"` // deployment, cronjob, job, pod
	OwnerName      string            `json:"ownerName,omitempty"`
	Services       map[string][]Port `json:"services,omitempty"` // by Service.Key()
	Policies       []string          `json:"policies,omitempty"` // selector policies that bind this workload, by Policy.Key()
	Labels         map[string]string `json:"labels,omitempty"`   // those alone that subsets name; not for ztunnels
	Unhealthy      bool              `json:"unhealthy,omitempty"`
	HostNetwork    bool              `json:"hostNetwork,omitempty"`
}

// Identity is the workload's SPIFFE id.
func (w *Workload) Identity() identity.Identity {
	return identity.Identity{TrustDomain: w.TrustDomain, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount}
}

// Service is a name and virtual addresses in front of workloads.
type Service struct {
	Name             string       `json:"name"`
	Namespace        string       `json:"namespace"`
	Hostname         string       `json:"hostname"` // cart.shop.svc.cluster.local
	Addresses        []netip.Addr `json:"addresses,omitempty"`
	Ports            []Port       `json:"ports,omitempty"`
	SubjectAltNames  []string     `json:"subjectAltNames,omitempty"`
	Waypoint         *Gateway     `json:"waypoint,omitempty"`
	Preference       []Scope      `json:"preference,omitempty"` // load balancing: match these scopes in order
	StrictPreference bool         `json:"strictPreference,omitempty"`
	PublishNotReady  bool         `json:"publishNotReady,omitempty"` // unhealthy endpoints take traffic as well
	Canonical        bool         `json:"canonical,omitempty"`
	// Draining is set on the copy that a waypoint has which the service has left: whoever still has a
	// connection through it is answered, and asked to make a new one.
	Draining bool `json:"draining,omitempty"`
	// Faults are done to connections by their callers' ztunnels: the first that concerns a caller counts.
	Faults []ConnFault `json:"faults,omitempty"`
	// Carriage is what callers' ztunnels do, for the service or a port of it.
	Carriage []Carriage `json:"carriage,omitempty"`
	// Probes are made by the ztunnels of the endpoints' nodes.
	Probes []Probe `json:"probes,omitempty"`
	// Samples say of which connections ztunnels begin a trace.
	Samples []Sample `json:"samples,omitempty"`
}

// Key identifies a service in the mesh: namespace/hostname.
func (s *Service) Key() string { return s.Namespace + "/" + s.Hostname }

// Headless reports a service without a virtual address: clients dial pods.
func (s *Service) Headless() bool { return len(s.Addresses) == 0 }

// Port finds a port by its service port number.
func (s *Service) Port(n uint16) (Port, bool) {
	for _, p := range s.Ports {
		if p.ServicePort == n {
			return p, true
		}
	}
	return Port{}, false
}

// Scope is a part of a locality that load balancing prefers.
type Scope string

// Scopes from wide to narrow.
const (
	ScopeNetwork Scope = "network"
	ScopeRegion  Scope = "region"
	ScopeZone    Scope = "zone"
	ScopeSubzone Scope = "subzone"
	ScopeNode    Scope = "node"
	ScopeCluster Scope = "cluster"
)

// ServiceHostname is the DNS name of a Kubernetes service.
func ServiceHostname(name, namespace, clusterDomain string) string {
	return strings.Join([]string{name, namespace, "svc", clusterDomain}, ".")
}
