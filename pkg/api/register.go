package api

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is of all kinds here.
var GroupVersion = schema.GroupVersion{Group: Group, Version: Version}

// Resources, as they stand in paths of the API server.
var (
	AuthorizationPolicies = GroupVersion.WithResource("authorizationpolicies")
	PeerAuthentications   = GroupVersion.WithResource("peerauthentications")
	Faults                = GroupVersion.WithResource("faults")
)

// AddToScheme teaches a client's scheme the kinds here.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&AuthorizationPolicy{}, &AuthorizationPolicyList{},
		&PeerAuthentication{}, &PeerAuthenticationList{},
		&Fault{}, &FaultList{},
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

// FaultList is what a list request answers.
//
// +kubebuilder:object:root=true
type FaultList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Fault `json:"items"`
}
