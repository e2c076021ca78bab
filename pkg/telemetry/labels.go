package telemetry

// Reporter says which end of a connection reports it.
type Reporter string

// Reporters.
const (
	ReporterSource      Reporter = "source"
	ReporterDestination Reporter = "destination"
)

// Security is how the bytes of a connection travelled between the two pods.
type Security string

const (
	// SecurityMutualTLS is a verified handshake with certificates of both ends.
	SecurityMutualTLS Security = "mutual_tls"
	// SecuritySameNode is plaintext that never left the node, between pods whose identities the kernel has checked.
	SecuritySameNode Security = "same_node"
	// SecurityNone is plaintext, also inside one pod.
	SecurityNone Security = "none"
)

// Flag is one of the field's short codes for how a connection went wrong.
type Flag string

// Response flags, in the vocabulary of Envoy.
const (
	FlagNone           Flag = "-"
	FlagDenied         Flag = "UAEX" // a policy refused it
	FlagConnectFailure Flag = "UF"   // the destination could not be reached
	FlagNoEndpoint     Flag = "UH"   // no healthy endpoint
	FlagNoRoute        Flag = "NR"   // nowhere to go: no configuration, no such port, waypoint missing
	FlagUpstreamReset  Flag = "UC"   // the destination's side ended it
	FlagClientReset    Flag = "DC"   // the source's side ended it
	FlagDuration       Flag = "DT"   // cut at the end of a drain
	FlagProtocol       Flag = "DPE"  // the other side broke the protocol
	FlagOverload       Flag = "UO"   // no descriptors or a limit reached
	FlagIdle           Flag = "SI"   // nothing moved for as long as a policy allows
	FlagFault          Flag = "FI"   // a Fault refused or reset it
)

// Peer is one end of a connection in labels. Empty fields are reported as "unknown".
type Peer struct {
	Workload          string // name of the owner: Deployment, StatefulSet, or the pod itself
	Namespace         string
	Principal         string // spiffe://...
	App               string
	Version           string
	CanonicalService  string
	CanonicalRevision string
	Cluster           string
}

// Labels is one label set. It is comparable and serves as a map key.
type Labels struct {
	Reporter         Reporter
	Source           Peer
	Destination      Peer
	Service          string // host name: cart.shop.svc.cluster.local
	ServiceName      string
	ServiceNamespace string
	Security         Security
	Flags            Flag
	Protocol         string // request_protocol, "tcp" when empty
}

// labelNames in the order of Labels.values.
var labelNames = []string{
	"reporter",
	"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version",
	"source_canonical_service", "source_canonical_revision", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
	"destination_canonical_service", "destination_canonical_revision", "destination_cluster",
	"destination_service", "destination_service_name", "destination_service_namespace",
	"connection_security_policy", "response_flags", "request_protocol",
}

// overflow stands for every label set beyond the bound; what is few in number is kept.
func (l Labels) overflow() Labels {
	p := Peer{Workload: "overflow", Namespace: "overflow", Principal: "overflow", App: "overflow", Version: "overflow",
		CanonicalService: "overflow", CanonicalRevision: "overflow", Cluster: "overflow"}
	return Labels{Reporter: l.Reporter, Source: p, Destination: p, Service: "overflow", ServiceName: "overflow",
		ServiceNamespace: "overflow", Security: l.Security, Flags: l.Flags, Protocol: l.Protocol}
}

// normal fills in what is not known, so that label sets that look alike are one.
func (l Labels) normal() Labels {
	l.Source.normalise()
	l.Destination.normalise()
	unknown(&l.Service, &l.ServiceName, &l.ServiceNamespace)
	if l.Protocol == "" {
		l.Protocol = "tcp"
	}
	if l.Flags == "" {
		l.Flags = FlagNone
	}
	if l.Security == "" {
		l.Security = SecurityNone
	}
	return l
}

func (p *Peer) normalise() {
	unknown(&p.Workload, &p.Namespace, &p.Principal, &p.App, &p.Version, &p.CanonicalService, &p.CanonicalRevision, &p.Cluster)
}

func unknown(fields ...*string) {
	for _, f := range fields {
		if *f == "" {
			*f = "unknown"
		}
	}
}

// values of normal labels, in the order of labelNames.
func (l Labels) values() []string {
	out := append(make([]string, 0, len(labelNames)), string(l.Reporter))
	for _, p := range [...]*Peer{&l.Source, &l.Destination} {
		out = append(out, p.Workload, p.Namespace, p.Principal, p.App, p.Version, p.CanonicalService, p.CanonicalRevision, p.Cluster)
	}
	return append(out, l.Service, l.ServiceName, l.ServiceNamespace, string(l.Security), string(l.Flags), l.Protocol)
}
