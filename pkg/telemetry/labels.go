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

func (l Labels) values() []string {
	out := make([]string, 0, len(labelNames))
	out = append(out, string(l.Reporter))
	out = l.Source.append(out)
	out = l.Destination.append(out)
	proto, flags := l.Protocol, string(l.Flags)
	if proto == "" {
		proto = "tcp"
	}
	if flags == "" {
		flags = string(FlagNone)
	}
	security := l.Security
	if security == "" {
		security = SecurityNone
	}
	return append(out, known(l.Service), known(l.ServiceName), known(l.ServiceNamespace), string(security), flags, proto)
}

func (p Peer) append(out []string) []string {
	for _, v := range [...]string{p.Workload, p.Namespace, p.Principal, p.App, p.Version, p.CanonicalService, p.CanonicalRevision, p.Cluster} {
		out = append(out, known(v))
	}
	return out
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
