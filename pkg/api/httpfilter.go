package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HTTPFilter is a further step for requests of an HTTPRoute rule, which names it by an ExtensionRef filter.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=httpfilters,shortName=whf,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type HTTPFilter struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              HTTPFilterSpec `json:"spec"`
	Status            Status         `json:"status,omitzero"`
}

// HTTPFilterSpec is what a person writes.
type HTTPFilterSpec struct {
}
