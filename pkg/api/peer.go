package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PeerAuthentication says whether workloads accept plaintext.
//
// The narrowest that applies wins: port, workload (selector), namespace, mesh (in weft-system, no selector).
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=peerauthentications,shortName=wpa,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Mode,type=string,JSONPath=`.spec.mtls.mode`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type PeerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PeerAuthenticationSpec `json:"spec"`
	Status            Status                 `json:"status,omitzero"`
}

// PeerAuthenticationSpec is what a person writes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.portLevelMtls) || size(self.portLevelMtls) == 0 || has(self.selector)",fieldPath=".portLevelMtls",message="ports can only be told apart for selected workloads: add spec.selector.matchLabels"
type PeerAuthenticationSpec struct {
	// Selector picks workloads of the namespace; none: all of it, in weft-system all of the mesh.
	Selector *Selector `json:"selector,omitempty"`
	// MTLS is the mode at all ports.
	MTLS MTLS `json:"mtls,omitzero"`
	// PortLevelMTLS overrides MTLS by workload port ("8080"); needs a selector.
	//
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(p, p.matches('^[0-9]{1,5}$') && int(p) >= 1 && int(p) <= 65535)",message="not a port: write a number from 1 to 65535 in quotes"
	PortLevelMTLS map[string]MTLS `json:"portLevelMtls,omitempty"`
}

// MTLS holds a mode.
type MTLS struct {
	// Mode is STRICT, PERMISSIVE, or UNSET (as the next wider scope says).
	Mode MTLSMode `json:"mode,omitempty"`
}

// MTLSMode is how plaintext is treated.
//
// +kubebuilder:validation:Enum=UNSET;STRICT;PERMISSIVE
type MTLSMode string

// Modes.
const (
	ModeUnset      MTLSMode = "UNSET"
	ModeStrict     MTLSMode = "STRICT"
	ModePermissive MTLSMode = "PERMISSIVE"
)
