package launcher

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/translate"
)

// An entry is what Envoy says of one request, or of one TCP connection, in our words.
type entry struct {
	time     time.Time
	duration time.Duration
	start    bool // the tunnel reached its destination; there will be another entry when it ends

	protocol           string // http, grpc, tcp
	kind               string // of the port: http, tcp, auto; empty where no route was found
	method, path, host string
	requestID          string
	code               uint32
	grpc               string
	flags, details     string
	failure            string // of the way to the pod
	sent, received     uint64 // body bytes, source to destination and back
	attempts           uint32

	source, dest         telemetry.Peer
	sourceAddr, endpoint netip.AddrPort
	dst                  string // address:port the client asked for
	service              string // host name
	serviceNS            string
	route                string
	dryRun               []string
	secure               bool              // the endpoint is reached over mutual TLS
	metrics              string            // how it is counted, as its route says; empty: as ever
	own                  map[string]string // labels from headers, by name
}

// deniedDetails begins what Envoy says of a call that a policy refused; it has no flag for it.
const deniedDetails = "rbac_access_denied"

// read takes what Envoy says in an HTTPAccessLogEntry; logName says which of the two streams it came by. Texts of e are
// parts of m.
func (e *entry) read(logName string, m message) {
	*e = entry{protocol: "http", flags: string(telemetry.FlagNone)}
	for {
		num, _, body := m.field()
		if num == 0 {
			break
		}
		switch num {
		case 1: // common_properties
			e.readCommon(body)
		case 3:
			e.readRequest(body)
		case 4:
			e.readResponse(body)
		}
	}
	switch {
	case logName == translate.LogTCP:
		e.protocol, e.method, e.path, e.host = "tcp", "", "", ""
	case e.grpc != "":
		e.protocol = "grpc"
	}
	if e.flags == string(telemetry.FlagNone) && strings.HasPrefix(e.details, deniedDetails) {
		e.flags = string(telemetry.FlagDenied)
	}
}

func (e *entry) readCommon(m message) {
	for {
		num, v, body := m.field()
		switch num {
		case 0:
			return
		case 2: // downstream_remote_address
			e.sourceAddr = address(body)
		case 5: // start_time
			e.time = body.time()
		case 18: // upstream_transport_failure_reason
			e.failure = string(body)
		case 19: // route_name
			e.route = string(body)
		case 22: // custom_tags: key and value
			if _, _, name := body.field(); name == translate.LogTag {
				_, _, fields := body.field()
				e.readFields(strings.ToValidUTF8(string(fields), "?"))
			}
		case 23: // duration
			e.duration = body.duration()
		case 24: // upstream_request_attempt_count
			e.attempts = uint32(v)
		case 33: // access_log_type
			e.start = accesslogv3.AccessLogType(v) == accesslogv3.AccessLogType_DownstreamTunnelSuccessfullyEstablished
		}
	}
}

func (e *entry) readRequest(m message) {
	original := ""
	e.method = corev3.RequestMethod_name[0]
	for {
		num, v, body := m.field()
		switch num {
		case 0:
			if original != "" {
				e.path = original
			}
			return
		case 1: // request_method
			e.method = corev3.RequestMethod_name[int32(v)]
		case 3: // authority
			e.host = string(body)
		case 5: // path
			e.path = string(body)
		case 9: // request_id
			e.requestID = string(body)
		case 10: // original_path
			original = string(body)
		case 12: // request_body_bytes
			e.sent = v
		}
	}
}

func (e *entry) readResponse(m message) {
	for {
		num, v, body := m.field()
		switch num {
		case 0:
			return
		case 1: // response_code
			e.code = uint32(body.first())
		case 3: // response_body_bytes
			e.received = v
		case 6: // response_code_details
			e.details = string(body)
		}
	}
}

// readFields reads what we have Envoy add. Of a controller of another version there may be more, or less.
func (e *entry) readFields(s string) {
	var f [translate.LogFields]string
	for i := range f {
		f[i], s, _ = strings.Cut(s, translate.LogSeparator)
		if f[i] == "-" {
			f[i] = ""
		}
	}
	e.kind, e.grpc, e.dst, e.metrics = f[translate.FieldKind], f[translate.FieldGRPC], f[translate.FieldDst], f[translate.FieldMetrics]
	if flags := f[translate.FieldFlags]; flags != "" {
		e.flags = flags
	}
	e.source = sourcePeer(f[translate.FieldBaggage], f[translate.FieldPeer])
	e.dest.Principal = f[translate.FieldSAN]
	e.secure = e.dest.Principal != ""
	e.dest.Namespace, e.dest.Workload, _ = strings.Cut(f[translate.FieldWorkload], "/")
	e.endpoint, _ = netip.ParseAddrPort(f[translate.FieldEndpoint])
	if ns, host, ok := strings.Cut(f[translate.FieldService], "/"); ok && ns != "workload" {
		e.serviceNS, e.service = ns, host
	}
	if p := f[translate.FieldDenyDry]; p != "" && p != "none" {
		e.dryRun = append(e.dryRun, p)
	}
	if f[translate.FieldAllowDry] == "denied" {
		e.dryRun = append(e.dryRun, "no ALLOW policy in dry run matches")
	}
	if l := f[translate.FieldLabels]; l != "" {
		_ = json.Unmarshal([]byte(l), &e.own) // what cannot be read is not there
	}
}

// labels of the metrics of a TCP connection.
func (e *entry) labels() telemetry.Labels {
	name, _, _ := strings.Cut(e.service, ".")
	return telemetry.Labels{
		Reporter: reporterWaypoint, Source: e.source, Destination: e.dest,
		Service: e.service, ServiceName: name, ServiceNamespace: e.serviceNS,
		Security: telemetry.SecurityMutualTLS, Flags: telemetry.Flag(e.flags), Protocol: e.protocol,
	}
}

// address is that of an Address with a socket's.
func address(m message) netip.AddrPort {
	num, _, socket := m.field()
	if num != 1 {
		return netip.AddrPort{}
	}
	var ip netip.Addr
	var port uint16
	for {
		num, v, body := socket.field()
		switch num {
		case 0:
			if !ip.IsValid() {
				return netip.AddrPort{}
			}
			return netip.AddrPortFrom(ip, port)
		case 2: // address
			ip, _ = netip.ParseAddr(string(body))
			ip = ip.Unmap()
		case 3: // port_value
			port = uint16(v)
		}
	}
}

// sourcePeer names the caller: its identity from its certificate, the rest from what its ztunnel says.
func sourcePeer(baggage, principal string) telemetry.Peer {
	p := telemetry.Peer{Principal: principal}
	for part := range strings.SplitSeq(baggage, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch k {
		case "k8s.namespace.name":
			p.Namespace = v
		case "k8s.deployment.name", "k8s.pod.name", "k8s.job.name", "k8s.cronjob.name":
			p.Workload = v
		case "k8s.cluster.name":
			p.Cluster = v
		case "service.name":
			p.App, p.CanonicalService = v, v
		case "service.version":
			p.Version, p.CanonicalRevision = v, v
		}
	}
	if ns, ok := namespaceOf(principal); ok {
		p.Namespace = ns // the certificate knows better
	}
	return p
}

func namespaceOf(spiffe string) (string, bool) {
	_, rest, ok := strings.Cut(spiffe, "/ns/")
	ns, _, _ := strings.Cut(rest, "/")
	return ns, ok && ns != ""
}
