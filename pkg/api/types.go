package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AuthorizationPolicy decides who may call the workloads or services it applies to.
//
// Without a selector or target it applies to its namespace; in weft-system, to the whole mesh. Where
// any ALLOW policy applies, what no ALLOW policy matches is refused; a DENY that matches always wins.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=authorizationpolicies,shortName=wap,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Action,type=string,JSONPath=`.spec.action`
// +kubebuilder:printcolumn:name=Dry-run,type=boolean,JSONPath=`.spec.dryRun`,priority=1
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type AuthorizationPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AuthorizationPolicySpec `json:"spec"`
	Status            Status                  `json:"status,omitzero"`
}

// AuthorizationPolicySpec is what a person writes.
type AuthorizationPolicySpec struct {
	// Selector picks workloads of the namespace by label; enforced by their ztunnel, and by the waypoints that call them.
	Selector *Selector `json:"selector,omitempty"`
	// TargetRefs picks Services, or Gateways of class weft-waypoint; enforced by the waypoint.
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// Action is ALLOW (default) or DENY.
	Action PolicyAction `json:"action,omitempty"`
	// DryRun evaluates and reports the policy without enforcing it.
	DryRun bool `json:"dryRun,omitempty"`
	// Rules: the policy matches when one of them does. None: it matches nothing (ALLOW nothing = deny all).
	Rules []PolicyRule `json:"rules,omitempty"`
}

// PolicyAction is ALLOW or DENY.
type PolicyAction string

// Actions.
const (
	ActionAllow PolicyAction = "ALLOW"
	ActionDeny  PolicyAction = "DENY"
)

// PolicyRule holds when one source of From (if given) and one operation of To (if given) match.
type PolicyRule struct {
	From []From `json:"from,omitempty"`
	To   []To   `json:"to,omitempty"`
}

// From wraps a source.
type From struct {
	Source Source `json:"source"`
}

// To wraps an operation.
type To struct {
	Operation Operation `json:"operation"`
}

// Source is a conjunction about the caller. Strings may start or end with "*"; "*" alone is any non-empty value.
type Source struct {
	// Principals are SPIFFE ids without spiffe://, e.g. cluster.local/ns/shop/sa/cart.
	Principals    []string `json:"principals,omitempty"`
	NotPrincipals []string `json:"notPrincipals,omitempty"`
	Namespaces    []string `json:"namespaces,omitempty"`
	NotNamespaces []string `json:"notNamespaces,omitempty"`
	// ServiceAccounts are "name" of the policy's namespace, or "namespace/name".
	ServiceAccounts    []string `json:"serviceAccounts,omitempty"`
	NotServiceAccounts []string `json:"notServiceAccounts,omitempty"`
	// IPBlocks are addresses or CIDRs.
	IPBlocks    []string `json:"ipBlocks,omitempty"`
	NotIPBlocks []string `json:"notIpBlocks,omitempty"`
}

// Operation is a conjunction about what is called. All but ports need a waypoint.
type Operation struct {
	// Ports are numbers in quotes ("8080"): of the workload; with targetRefs, of the service.
	Ports      []string `json:"ports,omitempty"`
	NotPorts   []string `json:"notPorts,omitempty"`
	Hosts      []string `json:"hosts,omitempty"`
	NotHosts   []string `json:"notHosts,omitempty"`
	Methods    []string `json:"methods,omitempty"`
	NotMethods []string `json:"notMethods,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	NotPaths   []string `json:"notPaths,omitempty"`
}

// Selector picks workloads whose labels include all of MatchLabels.
type Selector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// TargetRef names an object of the policy's own namespace.
type TargetRef struct {
	Group string `json:"group,omitempty"` // "" for Service, gateway.networking.k8s.io for Gateway and routes
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

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
type PeerAuthenticationSpec struct {
	Selector *Selector `json:"selector,omitempty"`
	MTLS     MTLS      `json:"mtls,omitzero"`
	// PortLevelMTLS overrides MTLS by workload port ("8080"); needs a selector.
	PortLevelMTLS map[string]MTLS `json:"portLevelMtls,omitempty"`
}

// MTLS holds a mode.
type MTLS struct {
	// Mode is STRICT, PERMISSIVE, or UNSET (as the next wider scope says).
	Mode MTLSMode `json:"mode,omitempty"`
}

// MTLSMode is how plaintext is treated.
type MTLSMode string

// Modes.
const (
	ModeUnset      MTLSMode = "UNSET"
	ModeStrict     MTLSMode = "STRICT"
	ModePermissive MTLSMode = "PERMISSIVE"
)

// Fault injects delays and aborts into requests of services, at their waypoint.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=faults,shortName=wfault,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type Fault struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              FaultSpec `json:"spec"`
	Status            Status    `json:"status,omitzero"`
}

// FaultSpec is what a person writes.
type FaultSpec struct {
	// TargetRefs are Services of the fault's namespace.
	TargetRefs []TargetRef `json:"targetRefs"`
	// Rules are tried in order; the first whose match holds applies.
	Rules []FaultRule `json:"rules"`
}

// FaultRule is what to do to which requests.
type FaultRule struct {
	// Matches: any of them (none: every request).
	Matches []RequestMatch `json:"matches,omitempty"`
	Abort   *FaultAbort    `json:"abort,omitempty"`
	Delay   *FaultDelay    `json:"delay,omitempty"`
}

// RequestMatch is a conjunction over a request.
type RequestMatch struct {
	// Path matches a prefix by whole segments when it ends with "*", else exactly.
	Path    string            `json:"path,omitempty"`
	Method  string            `json:"method,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// FaultAbort answers a share of requests without asking the service.
type FaultAbort struct {
	Percentage float64 `json:"percentage"` // 0 to 100
	HTTPStatus uint32  `json:"httpStatus,omitempty"`
	GRPCStatus *uint32 `json:"grpcStatus,omitempty"`
}

// FaultDelay holds a share of requests back.
type FaultDelay struct {
	Percentage float64         `json:"percentage"` // 0 to 100
	Duration   metav1.Duration `json:"duration"`
}

// Status of Weft's own objects: conditions Accepted (understood), Enforced (in force, and where).
type Status struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
