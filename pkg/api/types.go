package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Selector picks workloads whose labels include all of MatchLabels.
//
// +kubebuilder:validation:XValidation:rule="has(self.matchLabels) && size(self.matchLabels) > 0",message="the selector is empty: write matchLabels, or leave selector out to mean the whole namespace"
type Selector struct {
	// MatchLabels: at least one.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	MatchLabels map[string]string `json:"matchLabels"`
}

// TargetRef names an object of the policy's own namespace.
type TargetRef struct {
	// Group is empty for Service, gateway.networking.k8s.io for Gateway and routes.
	//
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
	// Kind is Service, Gateway, HTTPRoute or GRPCRoute, as far as the kind of policy allows.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Name of the object.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// SectionName is the name of a Service's port, or of a route's rule. Left out, all of them.
	//
	// +kubebuilder:validation:MaxLength=253
	SectionName string `json:"sectionName,omitempty"`
}

// Status of Weft's own objects: conditions Accepted (understood), Enforced (in force, and where).
type Status struct {
	// Conditions: one of each type.
	//
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
