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

// newEntry reads Envoy's message; logName says which of the two streams it came by.
func newEntry(logName string, m *accesslogv3.HTTPAccessLogEntry) *entry {
	c, req, res := m.GetCommonProperties(), m.GetRequest(), m.GetResponse()
	tags := c.GetCustomTags()
	tag := func(k string) string {
		if v := tags[k]; v != "-" {
			return v
		}
		return ""
	}
	e := &entry{
		time: c.GetStartTime().AsTime(), duration: c.GetDuration().AsDuration(),
		start:    c.GetAccessLogType() == accesslogv3.AccessLogType_DownstreamTunnelSuccessfullyEstablished,
		protocol: "http", kind: tag(translate.TagKind),
		method: req.GetRequestMethod().String(), path: req.GetPath(), host: req.GetAuthority(), requestID: req.GetRequestId(),
		code: res.GetResponseCode().GetValue(), grpc: tag(translate.TagGRPC),
		flags: tags[translate.TagFlags], details: res.GetResponseCodeDetails(), failure: c.GetUpstreamTransportFailureReason(),
		sent: req.GetRequestBodyBytes(), received: res.GetResponseBodyBytes(), attempts: c.GetUpstreamRequestAttemptCount(),
		sourceAddr: address(c.GetDownstreamRemoteAddress()), dst: tag(translate.TagDst), route: c.GetRouteName(),
		secure: tag(translate.TagSAN) != "",
	}
	if req.GetOriginalPath() != "" {
		e.path = req.GetOriginalPath()
	}
	switch {
	case logName == translate.LogTCP:
		e.protocol, e.method, e.path, e.host = "tcp", "", "", ""
	case e.grpc != "":
		e.protocol = "grpc"
	}
	if e.flags == "" {
		e.flags = string(telemetry.FlagNone)
	}
	if e.flags == string(telemetry.FlagNone) && strings.HasPrefix(e.details, deniedDetails) {
		e.flags = string(telemetry.FlagDenied)
	}
	e.source = sourcePeer(tag(translate.TagBaggage), tag(translate.TagPeer))
	e.dest.Principal = tag(translate.TagSAN)
	e.dest.Namespace, e.dest.Workload, _ = strings.Cut(tag(translate.TagWorkload), "/")
	e.endpoint, _ = netip.ParseAddrPort(tag(translate.TagEndpoint))
	if ns, host, ok := strings.Cut(tag(translate.TagService), "/"); ok && ns != "workload" {
		e.serviceNS, e.service = ns, host
	}
	if p := tag(translate.TagDenyDry); p != "" && p != "none" {
		e.dryRun = append(e.dryRun, p)
	}
	e.metrics = tag(translate.TagMetrics)
	if l := tag(translate.TagLabels); l != "" {
		_ = json.Unmarshal([]byte(l), &e.own) // what cannot be read is not there
	}
	if tag(translate.TagAllowDry) == "denied" {
		e.dryRun = append(e.dryRun, "no ALLOW policy in dry run matches")
	}
	return e
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

func address(a *corev3.Address) netip.AddrPort {
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue()))
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
