package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is of all kinds here.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// Resources of the kinds here, as they stand in paths of the API server.
var Resources = map[string]string{
	"AuthorizationPolicy":   "authorizationpolicies",
	"PeerAuthentication":    "peerauthentications",
	"RequestAuthentication": "requestauthentications",
	"TrafficPolicy":         "trafficpolicies",
	"RateLimit":             "ratelimits",
	"Fault":                 "faults",
	"Telemetry":             "telemetries",
	"Extension":             "extensions",
	"HTTPFilter":            "httpfilters",
	"EnvoyPatch":            "envoypatches",
}

// Resource is that of a kind here.
func Resource(kind string) schema.GroupVersionResource {
	return GroupVersion.WithResource(Resources[kind])
}

// AddToScheme teaches a client's scheme the kinds here.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AuthorizationPolicy{}, &AuthorizationPolicyList{},
		&PeerAuthentication{}, &PeerAuthenticationList{},
		&RequestAuthentication{}, &RequestAuthenticationList{},
		&TrafficPolicy{}, &TrafficPolicyList{},
		&RateLimit{}, &RateLimitList{},
		&Fault{}, &FaultList{},
		&Telemetry{}, &TelemetryList{},
		&Extension{}, &ExtensionList{},
		&HTTPFilter{}, &HTTPFilterList{},
		&EnvoyPatch{}, &EnvoyPatchList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// AuthorizationPolicyList is what a list request answers.
//
// +kubebuilder:object:root=true
type AuthorizationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AuthorizationPolicy `json:"items"`
}

// PeerAuthenticationList is what a list request answers.
//
// +kubebuilder:object:root=true
type PeerAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PeerAuthentication `json:"items"`
}

// RequestAuthenticationList is what a list request answers.
//
// +kubebuilder:object:root=true
type RequestAuthenticationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RequestAuthentication `json:"items"`
}

// TrafficPolicyList is what a list request answers.
//
// +kubebuilder:object:root=true
type TrafficPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TrafficPolicy `json:"items"`
}

// RateLimitList is what a list request answers.
//
// +kubebuilder:object:root=true
type RateLimitList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []RateLimit `json:"items"`
}

// FaultList is what a list request answers.
//
// +kubebuilder:object:root=true
type FaultList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Fault `json:"items"`
}

// TelemetryList is what a list request answers.
//
// +kubebuilder:object:root=true
type TelemetryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Telemetry `json:"items"`
}

// ExtensionList is what a list request answers.
//
// +kubebuilder:object:root=true
type ExtensionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Extension `json:"items"`
}

// HTTPFilterList is what a list request answers.
//
// +kubebuilder:object:root=true
type HTTPFilterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HTTPFilter `json:"items"`
}

// EnvoyPatchList is what a list request answers.
//
// +kubebuilder:object:root=true
type EnvoyPatchList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []EnvoyPatch `json:"items"`
}

// Policy is an object of one of the kinds here.
//
// +kubebuilder:object:generate=false
type Policy interface {
	metav1.Object
	runtime.Object
	// GetStatus is the object's own, to read or change.
	GetStatus() *Status
}

// GetStatus is part of Policy.
func (p *AuthorizationPolicy) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *PeerAuthentication) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *RequestAuthentication) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *TrafficPolicy) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *RateLimit) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *Fault) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *Telemetry) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *Extension) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *HTTPFilter) GetStatus() *Status { return &p.Status }

// GetStatus is part of Policy.
func (p *EnvoyPatch) GetStatus() *Status { return &p.Status }
