// Package wire translates between package model and the messages that ztunnels subscribe to: those of Istio, and
// one of ours. What Istio's cannot say rides in their extensions, which other makers' programs ignore.
//
// Both ends of pkg/xds use it. It needs neither Envoy's messages nor Kubernetes' types, which a ztunnel would carry
// in its memory for nothing.
package wire

import (
	"strings"
	"time"
)

// Type URLs of what ztunnels subscribe to.
const (
	TypeAddress       = "type.googleapis.com/istio.workload.Address"
	TypeAuthorization = "type.googleapis.com/istio.security.Authorization"
	// TypeRange is ours: see proto/weft/v1/range.proto.
	TypeRange = "type.googleapis.com/weft.v1.Range"
)

// ZtunnelPrefix begins the node id of every ztunnel; the name of its node follows.
const ZtunnelPrefix = "ztunnel~"

// ZtunnelNode is the node id of the ztunnel of a node.
func ZtunnelNode(node string) string { return ZtunnelPrefix + node }

// HealthService is the gRPC service to which ztunnels report which pods fail their checks.
const HealthService = "weft.v1.HealthReports"

// HealthLife is how long a report counts. Then an endpoint's health is not known, and as Kubernetes says again.
const HealthLife = 30 * time.Second

// TakesParts is the feature of a client (envoy.config.core.v3.Node.client_features) that takes all addresses in
// parts, so that neither end holds them in one message. Other makers' ztunnels take the first response for all there is.
const TakesParts = "weft.parts"

const more = "+"

// Part marks a version as that of a part that others follow.
func Part(version string) string { return version + more }

// MoreFollows tells whether other parts follow a response of this version.
func MoreFollows(version string) bool { return strings.HasSuffix(version, more) }
