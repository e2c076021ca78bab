package api

// ServiceRef names a port of a Service that a waypoint calls itself, beside the traffic that passes it.
type ServiceRef struct {
	// Name of the Service.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Namespace of the Service. Default: the policy's. Another one has to allow it by a ReferenceGrant that
	// names the policy's kind, group weft.dev.
	//
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// Port of the Service.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
}
