package api

// BackendTLS is TLS from a waypoint to endpoints outside the mesh, such as a Service without selector whose
// EndpointSlices name foreign addresses. Pods in the mesh are reached by the mesh's own mutual TLS regardless.
//
// +kubebuilder:validation:XValidation:rule="!has(self.caCertificates) || !has(self.caConfigMap)",fieldPath=".caConfigMap",message="whom to trust comes from one place: write caCertificates or caConfigMap, or neither for the roots that browsers trust"
type BackendTLS struct {
	// ServerName is told in the handshake (SNI). The certificate has to be of it, unless subjectAltNames say otherwise.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="not a server's name: write it out, in small letters, without port"
	ServerName string `json:"serverName"`
	// SubjectAltNames: the certificate has to hold one of these names, or of these URIs.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`
	// CACertificates are whom to trust, in PEM. Left out, with caConfigMap: the public roots in the waypoint's image.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=262144
	CACertificates string `json:"caCertificates,omitempty"`
	// CAConfigMap holds them, as PEM in its data.
	CAConfigMap *ConfigMapKey `json:"caConfigMap,omitempty"`
	// ClientCertificate is shown to the server, if it asks. Default none. Mesh: the waypoint's own, of its SPIFFE
	// identity, which the mesh's root has signed and which is renewed by itself.
	ClientCertificate ClientCertificate `json:"clientCertificate,omitempty"`
}

// ClientCertificate says which certificate a server outside the mesh is shown.
//
// +kubebuilder:validation:Enum=None;Mesh
type ClientCertificate string

// Client certificates.
const (
	ClientCertificateNone ClientCertificate = "None"
	ClientCertificateMesh ClientCertificate = "Mesh"
)
