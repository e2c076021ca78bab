package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// HTTPFilter is a further step for requests of a rule of an HTTPRoute or GRPCRoute, which names it by an
// ExtensionRef filter: {type: ExtensionRef, extensionRef: {group: weft.dev, kind: HTTPFilter, name: …}}.
// It is looked for in the route's namespace. A rule whose filter is missing or broken answers 500.
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

// HTTPFilterSpec is what a person writes: exactly one step.
//
// +kubebuilder:validation:XValidation:rule="[has(self.directResponse), has(self.compression), has(self.grpcWeb), has(self.grpcTranscoding), has(self.headers), has(self.pathRewrite), has(self.requestBuffer), has(self.callers)].filter(x, x).size() == 1",message="a filter is one step: write exactly one of directResponse, compression, grpcWeb, grpcTranscoding, headers, pathRewrite, requestBuffer, callers"
type HTTPFilterSpec struct {
	// DirectResponse answers without asking a backend. The rule has no backendRefs then.
	DirectResponse *DirectResponse `json:"directResponse,omitempty"`
	// Compression makes answers smaller for clients that can read it.
	Compression *Compression `json:"compression,omitempty"`
	// GRPCWeb lets browsers call gRPC: write {}.
	GRPCWeb *GRPCWeb `json:"grpcWeb,omitempty"`
	// GRPCTranscoding lets clients call gRPC by HTTP and JSON.
	GRPCTranscoding *GRPCTranscoding `json:"grpcTranscoding,omitempty"`
	// Headers changes headers, with values made of what is known of the request.
	Headers *HeaderTransformation `json:"headers,omitempty"`
	// PathRewrite changes the path by a regular expression.
	PathRewrite *PathRewrite `json:"pathRewrite,omitempty"`
	// RequestBuffer holds requests back until they are there as a whole.
	RequestBuffer *RequestBuffer `json:"requestBuffer,omitempty"`
	// Callers makes the rule one for these callers alone. Requests of others are matched by the other rules.
	Callers *Callers `json:"callers,omitempty"`
}

// Callers are identities, as certificates prove them. Of rules whose matches are equal, one with callers comes first.
type Callers struct {
	// From: any of these.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	From []FaultSource `json:"from"`
}

// DirectResponse is an answer.
type DirectResponse struct {
	// Status of the answer, 200 to 599.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 200 && self <= 599",message="not an HTTP status to end a request with: write 200 to 599"
	Status uint32 `json:"status"`
	// Body of the answer, up to 64 KiB.
	//
	// +kubebuilder:validation:MaxLength=65536
	Body string `json:"body,omitempty"`
	// ContentType of the body. Default text/plain.
	//
	// +kubebuilder:validation:MaxLength=256
	ContentType string `json:"contentType,omitempty"`
	// Headers are added to the answer.
	//
	// +kubebuilder:validation:MaxItems=16
	Headers []NamedValue `json:"headers,omitempty"`
}

// NamedValue is a header.
type NamedValue struct {
	// Name of the header.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9!#$&*+.^_|~-]+$')",message="not a header's name: write letters, digits and -"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() != 'host'",message="Host cannot be changed here: use the URLRewrite filter"
	Name string `json:"name"`
	// Value of the header.
	//
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value"`
}

// Compression is how answers are compressed.
type Compression struct {
	// Algorithms that may be used, the best first; the client's Accept-Encoding decides among them. Default
	// [zstd, br, gzip].
	//
	// +kubebuilder:validation:MaxItems=3
	// +listType=set
	Algorithms []CompressionAlgorithm `json:"algorithms,omitempty"`
	// ContentTypes that are compressed, e.g. application/json. Default: text, JSON, JavaScript, XML and SVG.
	//
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	ContentTypes []string `json:"contentTypes,omitempty"`
	// MinLength in bytes of what is worth it, where the length is known. Default 256.
	//
	// +kubebuilder:validation:Minimum=30
	// +kubebuilder:validation:Maximum=1048576
	MinLength uint32 `json:"minLength,omitempty"`
}

// CompressionAlgorithm is a content encoding.
//
// +kubebuilder:validation:Enum=gzip;br;zstd
type CompressionAlgorithm string

// GRPCWeb has no options.
type GRPCWeb struct{}

// GRPCTranscoding maps HTTP and JSON to gRPC by the google.api.http options of the services.
//
// +kubebuilder:validation:XValidation:rule="has(self.descriptors) != has(self.configMap)",message="the services' descriptors come from one place: write descriptors or configMap"
type GRPCTranscoding struct {
	// Descriptors is a FileDescriptorSet in base64 (protoc --include_imports --descriptor_set_out).
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=524288
	Descriptors string `json:"descriptors,omitempty"`
	// ConfigMap holds the FileDescriptorSet.
	ConfigMap *ConfigMapKey `json:"configMap,omitempty"`
	// Services that are called so, e.g. shop.v1.Cart.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	Services []string `json:"services"`
	// AutoMapping answers POST /package.Service/Method for methods without google.api.http options. Default false.
	AutoMapping bool `json:"autoMapping,omitempty"`
	// IgnoreUnknownQuery leaves query parameters out that the message has no field for. Default: such a request is refused.
	IgnoreUnknownQuery bool `json:"ignoreUnknownQuery,omitempty"`
	// Print says how JSON is written.
	Print PrintOptions `json:"print,omitzero"`
}

// ConfigMapKey names an entry of a ConfigMap in the object's namespace, which has the label weft.dev/filter-data.
type ConfigMapKey struct {
	// Name of the ConfigMap.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in its data or binaryData. What is not text stands in binaryData, or in base64 in data.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// PrintOptions of JSON.
type PrintOptions struct {
	// Whitespace makes it readable.
	Whitespace bool `json:"whitespace,omitempty"`
	// AllFields writes fields with the default value, too.
	AllFields bool `json:"allFields,omitempty"`
	// EnumsAsNumbers writes numbers in the place of names.
	EnumsAsNumbers bool `json:"enumsAsNumbers,omitempty"`
	// ProtoNames keeps field_name where JSON would have fieldName.
	ProtoNames bool `json:"protoNames,omitempty"`
}

// HeaderTransformation changes headers of requests and answers. Values may hold ${…}: caller.identity,
// caller.namespace, caller.serviceAccount, caller.address, request.id, request.path, request.method, request.host,
// request.header.NAME, and for answers response.code. $$ is a dollar sign.
//
// +kubebuilder:validation:XValidation:rule="has(self.request) || has(self.response)",message="nothing is changed: write request or response"
type HeaderTransformation struct {
	Request  *HeaderOperations `json:"request,omitempty"`
	Response *HeaderOperations `json:"response,omitempty"`
}

// HeaderOperations are done in this order: remove, set, append.
type HeaderOperations struct {
	// Remove these.
	//
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=256
	Remove []string `json:"remove,omitempty"`
	// Set replaces what there is by the name.
	//
	// +kubebuilder:validation:MaxItems=32
	Set []NamedValue `json:"set,omitempty"`
	// Append adds beside what there is.
	//
	// +kubebuilder:validation:MaxItems=32
	Append []NamedValue `json:"append,omitempty"`
}

// PathRewrite replaces what a regular expression matches in the path; the query stays.
type PathRewrite struct {
	// Regex in RE2's dialect, e.g. ^/v([0-9]+)/(.*)$.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Regex string `json:"regex"`
	// Replacement, with \1 to \9 for what the groups matched, e.g. /\2?api=\1.
	//
	// +kubebuilder:validation:MaxLength=512
	Replacement string `json:"replacement"`
}

// RequestBuffer holds a request back until it is there as a whole; a bigger one is answered 413.
type RequestBuffer struct {
	// MaxBytes of a request's body.
	//
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=67108864
	MaxBytes uint32 `json:"maxBytes"`
}
