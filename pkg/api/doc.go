// Package api holds Weft's own Kubernetes API: group weft.dev, version v1alpha1.
//
//	AuthorizationPolicy    who may call what, by identity, address, port and, at a waypoint, request and token
//	PeerAuthentication     whether plaintext is accepted
//	RequestAuthentication  whose tokens of end users are believed
//	TrafficPolicy          timeouts, retries, balancing, limits, ejection, health checks
//	RateLimit              how many requests, by whom
//	Fault                  delays, aborts and broken connections, for testing how callers cope
//	HTTPFilter             further steps for requests of a route's rule
//	Extension              Lua, WebAssembly and external processors
//	Telemetry              access logs and traces
//	EnvoyPatch             what nothing else can say, in Envoy's own words
//
// Everything else a person writes is Kubernetes' own (Namespace, Service, Deployment, …) or Gateway
// API's (Gateway, HTTPRoute, GRPCRoute). Labels and annotations that Weft reads are constants here.
//
// The markers (+kubebuilder) become the CustomResourceDefinitions of charts/weft by `make generate`. They
// refuse at `kubectl apply` what pkg/source refuses in a folder, with the same next step. docs/api.md is made of
// the same types.
//
// +kubebuilder:object:generate=true
// +groupName=weft.dev
// +versionName=v1alpha1
package api

//go:generate go run sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0 object crd:allowDangerousTypes=true,maxDescLen=500 paths=. output:crd:dir=../../charts/weft/files/crds
//go:generate go run github.com/elastic/crd-ref-docs@v0.2.0 --source-path=. --renderer=markdown --output-path=../../docs/api.md --config=../../hack/api-reference.yaml --max-depth=20 --log-level=error

// Group and Version of Weft's API.
const (
	Group      = "weft.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version
)

// Labels and annotations.
const (
	// LabelMode enrols a namespace or pod: "ambient" or "none"; the pod's own label wins.
	LabelMode   = "weft.dev/dataplane-mode"
	ModeAmbient = "ambient"
	ModeNone    = "none"

	// LabelSameNode on a namespace says how its pods talk to pods of their own node: "direct", straight through the
	// kernel where policy leaves it open and the other's namespace says so too, or "encrypt", by the tunnel.
	LabelSameNode   = "weft.dev/same-node"
	SameNodeDirect  = "direct"
	SameNodeEncrypt = "encrypt"

	// LabelUseWaypoint on a namespace, service or pod names the Gateway that serves its L7, or "none".
	LabelUseWaypoint          = "weft.dev/use-waypoint"
	LabelUseWaypointNamespace = "weft.dev/use-waypoint-namespace"
	// LabelWaypointFor on a Gateway: "service" (default), "workload", "all" or "none".
	LabelWaypointFor = "weft.dev/waypoint-for"

	// LabelFilterData, with any value, marks the ConfigMaps that objects of Weft may read.
	LabelFilterData = "weft.dev/filter-data"
	// LabelWaypointParameters, with any value, marks the ConfigMaps that a Gateway's parametersRef may name.
	LabelWaypointParameters = "weft.dev/waypoint-parameters"

	// AnnotationRedirection is set on a pod once its traffic is captured.
	AnnotationRedirection = "weft.dev/redirection"
	RedirectionEnabled    = "enabled"
	// LabelGatewayName on the pods and services of a waypoint names its Gateway (GEP-1762).
	LabelGatewayName = "gateway.networking.k8s.io/gateway-name"
)

// Names that Weft claims.
const (
	SystemNamespace    = "weft-system"
	WaypointClass      = "weft-waypoint"
	WaypointController = "weft.dev/waypoint"
	MeshController     = "weft.dev/mesh"
	// UninstallConfigMap is in the system namespace while Weft is being uninstalled: agents that end give
	// their nodes back then.
	UninstallConfigMap = "weft-uninstall"
)

// Ports inside an enrolled pod's network namespace, and of the mesh's own programs.
const (
	PortOutbound   = 15001
	PortPlaintext  = 15006
	PortHBONE      = 15008
	PortDNS        = 15053
	PortAdmin      = 15000
	PortMetrics    = 15020
	PortReady      = 15021
	PortXDS        = 15012
	PortController = 15014
)
