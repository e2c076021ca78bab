package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Extension runs foreign code on requests at a waypoint: Lua, WebAssembly, or an external processor.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=extensions,shortName=wext,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Extension struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ExtensionSpec `json:"spec"`
	Status            Status        `json:"status,omitzero"`
}

// ExtensionSpec is what a person writes. Extensions of a service, of its ports, routes and rules, and of its
// waypoint's Gateway add up: a request passes all of them, whatever is narrower.
//
// +kubebuilder:validation:XValidation:rule="[has(self.lua), has(self.extProc), has(self.wasm)].filter(x, x).size() == 1",message="an extension runs one thing: write one of lua, extProc and wasm"
type ExtensionSpec struct {
	// TargetRefs are what it applies to, in its own namespace: Services or ports of them by sectionName, HTTPRoutes
	// and GRPCRoutes or rules of them by sectionName, Gateways of class weft-waypoint.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []TargetRef `json:"targetRefs"`
	// Priority orders the extensions of a request: the lowest sees it first, and its answer last. Default 0. Of equal
	// ones the older is first.
	//
	// +kubebuilder:validation:Minimum=-1000
	// +kubebuilder:validation:Maximum=1000
	Priority int32 `json:"priority,omitempty"`
	// FailOpen lets requests pass without the extension where it cannot be run or fails. By default they are refused.
	FailOpen bool `json:"failOpen,omitempty"`
	// Lua runs a script.
	Lua *LuaExtension `json:"lua,omitempty"`
	// ExtProc asks a service that speaks Envoy's ext_proc protocol.
	ExtProc *ExtProcExtension `json:"extProc,omitempty"`
	// Wasm runs a proxy-wasm module.
	Wasm *WasmExtension `json:"wasm,omitempty"`
}

// LuaExtension is a script with a function envoy_on_request(handle), envoy_on_response(handle) or both.
type LuaExtension struct {
	// Source of the script. It has Lua's own functions on strings, tables and numbers; no files, no processes, no
	// modules. A call that runs more than some ten million instructions is ended and counts as failed.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Source string `json:"source"`
}

// ExtProcExtension is an external processor.
type ExtProcExtension struct {
	// Service that is asked by gRPC, over the mesh, as the waypoint.
	Service ServiceRef `json:"service"`
	// Timeout of each message that it has to answer, up to 60s. Default 200ms.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(h|m|s|ms))+$') && duration(self) > duration('0s') && duration(self) <= duration('60s')",message="not a time that a processor may take: write e.g. 200ms, at most 60s"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Request says what of requests it is shown. Default: headers.
	Request *ProcessedParts `json:"request,omitempty"`
	// Response says what of responses it is shown. Default: headers.
	Response *ProcessedParts `json:"response,omitempty"`
	// Metadata is sent with each stream.
	//
	// +kubebuilder:validation:MaxProperties=16
	Metadata map[string]HeaderValue `json:"metadata,omitempty"`
}

// HeaderValue is what a header may hold.
//
// +kubebuilder:validation:MaxLength=1024
type HeaderValue string

// ProcessedParts of a message that an external processor is shown, and may change.
type ProcessedParts struct {
	// Headers: Send (default) or Skip.
	//
	// +kubebuilder:validation:Enum=Send;Skip
	Headers string `json:"headers,omitempty"`
	// Body: None (default), Streamed piece by piece, Buffered as a whole (a larger one is refused), or
	// BufferedPartial, as much as fits.
	//
	// +kubebuilder:validation:Enum=None;Streamed;Buffered;BufferedPartial
	Body string `json:"body,omitempty"`
	// Trailers: Skip (default) or Send.
	//
	// +kubebuilder:validation:Enum=Send;Skip
	Trailers string `json:"trailers,omitempty"`
}

// WasmExtension is a proxy-wasm module. It can look at requests and answers, change them and answer itself; it
// cannot call out.
//
// +kubebuilder:validation:XValidation:rule="[has(self.inline), has(self.configMap), has(self.url), has(self.image)].filter(x, x).size() == 1",message="the module comes from one place: write one of inline, configMap, url and image"
type WasmExtension struct {
	// Inline is the module itself, in base64.
	//
	// +kubebuilder:validation:MinLength=12
	// +kubebuilder:validation:MaxLength=700000
	Inline string `json:"inline,omitempty"`
	// ConfigMap holds it, in its binaryData.
	ConfigMap *ConfigMapKey `json:"configMap,omitempty"`
	// URL, https, from where the controller fetches it, up to 8 MiB.
	//
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https://[^/ ]+/[^ ]*$')",message="not the place of a module: write https://host/path"
	URL string `json:"url,omitempty"`
	// Image in an OCI registry that whoever may read, from where the controller fetches it: an artifact whose layer it
	// is (application/wasm), or a container image with a file plugin.wasm.
	//
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9.-]+(:[0-9]+)?/[a-z0-9._/-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$')",message="not an image: write registry/repository:tag or registry/repository@sha256:digest"
	Image string `json:"image,omitempty"`
	// SHA256 of the module, 64 hexadecimal digits. A module with another one is not run.
	//
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="not a SHA-256: write the 64 hexadecimal digits that sha256sum prints"
	SHA256 string `json:"sha256"`
	// Config is given to the module as its plugin configuration.
	//
	// +kubebuilder:validation:MaxLength=65536
	Config string `json:"config,omitempty"`
}
