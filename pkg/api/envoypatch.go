package api

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EnvoyPatch changes the Envoy configuration that a waypoint gets, where no other kind can say what is wanted.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=envoypatches,shortName=wep,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type EnvoyPatch struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              EnvoyPatchSpec `json:"spec"`
	Status            Status         `json:"status,omitzero"`
}

// EnvoyPatchSpec is what a person writes. What guards and what carries the mesh cannot be patched: see
// docs/tasks/envoy-patch.md.
//
// +kubebuilder:validation:XValidation:rule="has(self.patches) && size(self.patches) > 0 || has(self.filters) && size(self.filters) > 0",message="the patch changes nothing: write patches, or filters"
type EnvoyPatchSpec struct {
	// TargetRefs are what it applies to, in its own namespace: Services or ports of them by sectionName, or Gateways
	// of class weft-waypoint, which means everything behind.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs"`
	// Patches of what Weft makes of the target.
	//
	// +kubebuilder:validation:MaxItems=16
	Patches []ResourcePatch `json:"patches,omitempty"`
	// Filters are further Envoy HTTP filters on the target's requests, after its extensions.
	//
	// +kubebuilder:validation:MaxItems=4
	Filters []EnvoyFilter `json:"filters,omitempty"`
}

// ResourcePatch changes one resource by a JSON patch, RFC 6902.
type ResourcePatch struct {
	// Type of the resource: Cluster or RouteConfiguration.
	//
	// +kubebuilder:validation:Enum=Cluster;RouteConfiguration
	Type string `json:"type"`
	// Operations are done in order, all of them or none. Fields have the names of Envoy's documentation.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Operations []PatchOperation `json:"operations"`
}

// PatchOperation is one of a JSON patch.
//
// +kubebuilder:validation:XValidation:rule="!(self.op in ['move', 'copy']) || has(self.from)",message="nothing says what to take: add from"
type PatchOperation struct {
	// Op is add, remove, replace, move, copy or test.
	//
	// +kubebuilder:validation:Enum=add;remove;replace;move;copy;test
	Op string `json:"op"`
	// Path of the field, e.g. /circuit_breakers/thresholds/0/max_requests.
	//
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="a path begins with /"
	Path string `json:"path"`
	// From is the field that move and copy take.
	//
	// +kubebuilder:validation:MaxLength=512
	From string `json:"from,omitempty"`
	// Value for add, replace and test, which need one.
	Value *apiextensionsv1.JSON `json:"value,omitempty"`
}

// EnvoyFilter is one of Envoy's HTTP filters with its whole configuration.
type EnvoyFilter struct {
	// Config is the filter's configuration, whose "@type" names it.
	//
	// +kubebuilder:pruning:PreserveUnknownFields
	Config apiextensionsv1.JSON `json:"config"`
}
