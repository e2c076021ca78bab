package model

// EnvoyPatch is changes to the Envoy configuration of a target.
type EnvoyPatch struct {
	Patches []ResourcePatch `json:"patches,omitempty"`
	Filters []string        `json:"filters,omitempty"` // JSON of google.protobuf.Any
}

// ResourcePatch is a JSON patch of one type of resource.
type ResourcePatch struct {
	Type       string `json:"type"`       // Cluster, RouteConfiguration
	Operations string `json:"operations"` // RFC 6902
}
