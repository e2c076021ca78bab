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
//
// +kubebuilder:validation:XValidation:rule="(has(self.action) && self.action == 'CUSTOM') == has(self.extAuthz)",fieldPath=".action",message="CUSTOM and extAuthz belong together: write both, or neither"
// +kubebuilder:validation:XValidation:rule="!has(self.extAuthz) || has(self.targetRefs) && size(self.targetRefs) > 0",fieldPath=".targetRefs",message="only a waypoint can ask another service: write targetRefs"
// +kubebuilder:validation:XValidation:rule="!has(self.extAuthz) || !has(self.dryRun) || !self.dryRun",fieldPath=".dryRun",message="a service that is asked decides: leave dryRun out"
// +kubebuilder:validation:XValidation:rule="!has(self.selector) || !has(self.targetRefs) || size(self.targetRefs) == 0",fieldPath=".targetRefs",message="selector and targetRefs exclude each other: make it two policies"
type AuthorizationPolicySpec struct {
	// Selector picks workloads of the namespace by label; enforced by their ztunnel, and by the waypoints that call them.
	Selector *Selector `json:"selector,omitempty"`
	// TargetRefs picks Services, or Gateways of class weft-waypoint; enforced by the waypoint.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'Service' ? !has(self.group) || self.group in ['', 'core'] : self.kind == 'Gateway' && has(self.group) && self.group == 'gateway.networking.k8s.io'",message="no target: name a Service, or a Gateway with group: gateway.networking.k8s.io"
	// +kubebuilder:validation:items:XValidation:rule="!has(self.sectionName)",message="sectionName is not understood here: leave it out"
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// Action is ALLOW (default), DENY, or CUSTOM: ask another service about the requests that match.
	Action PolicyAction `json:"action,omitempty"`
	// ExtAuthz is whom CUSTOM asks. It is asked before the DENY and ALLOW policies, which have to let the
	// request pass all the same.
	ExtAuthz *ExternalAuthorization `json:"extAuthz,omitempty"`
	// DryRun evaluates and reports the policy without enforcing it.
	DryRun bool `json:"dryRun,omitempty"`
	// Rules: the policy matches when one of them does. None: it matches nothing (ALLOW nothing = deny all).
	//
	// +kubebuilder:validation:MaxItems=64
	Rules []PolicyRule `json:"rules,omitempty"`
}

// PolicyAction is ALLOW, DENY or CUSTOM.
//
// +kubebuilder:validation:Enum=ALLOW;DENY;CUSTOM
type PolicyAction string

// Actions.
const (
	ActionAllow  PolicyAction = "ALLOW"
	ActionDeny   PolicyAction = "DENY"
	ActionCustom PolicyAction = "CUSTOM"
)

// PolicyRule holds when one source of From (if given) and one operation of To (if given) match.
//
// +kubebuilder:validation:XValidation:rule="!has(self.from) || size(self.from) > 0",fieldPath=".from",message="an empty list of callers: leave from out to mean every caller"
// +kubebuilder:validation:XValidation:rule="!has(self.to) || size(self.to) > 0",fieldPath=".to",message="an empty list of operations: leave to out to mean every operation"
type PolicyRule struct {
	// From: any of these callers.
	//
	// +kubebuilder:validation:MaxItems=16
	From []From `json:"from,omitempty"`
	// To: any of these operations.
	//
	// +kubebuilder:validation:MaxItems=16
	To []To `json:"to,omitempty"`
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
//
// +kubebuilder:validation:XValidation:rule="has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces) || has(self.serviceAccounts) || has(self.notServiceAccounts) || has(self.ipBlocks) || has(self.notIpBlocks) || has(self.requestPrincipals) || has(self.notRequestPrincipals) || has(self.claims)",message="the source is empty: leave from out to mean every caller"
type Source struct {
	// Principals are SPIFFE ids without spiffe://, e.g. cluster.local/ns/shop/sa/cart.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	// +kubebuilder:validation:items:Pattern=`^[^ \t\n]+$`
	// +kubebuilder:validation:items:XValidation:rule="!self.startsWith('spiffe://')",message="leave spiffe:// out: write <trust domain>/ns/<namespace>/sa/<service account>"
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.contains('/sa/')",message="not a principal: write <trust domain>/ns/<namespace>/sa/<service account>"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	Principals []string `json:"principals,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	// +kubebuilder:validation:items:Pattern=`^[^ \t\n]+$`
	// +kubebuilder:validation:items:XValidation:rule="!self.startsWith('spiffe://')",message="leave spiffe:// out: write <trust domain>/ns/<namespace>/sa/<service account>"
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.contains('/sa/')",message="not a principal: write <trust domain>/ns/<namespace>/sa/<service account>"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	NotPrincipals []string `json:"notPrincipals,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="not a namespace: use lower-case letters, digits and -"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	Namespaces []string `json:"namespaces,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="not a namespace: use lower-case letters, digits and -"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	NotNamespaces []string `json:"notNamespaces,omitempty"`
	// ServiceAccounts are "name" of the policy's namespace, or "namespace/name".
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('*')",message="not a service account: write name or namespace/name; for patterns use principals"
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	// +kubebuilder:validation:items:XValidation:rule="!self.contains('*')",message="not a service account: write name or namespace/name; for patterns use principals"
	NotServiceAccounts []string `json:"notServiceAccounts,omitempty"`
	// IPBlocks are addresses or CIDRs.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self)",message="neither an address nor a CIDR: write e.g. 10.1.0.0/16 or fd00::/64"
	IPBlocks []string `json:"ipBlocks,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self)",message="neither an address nor a CIDR: write e.g. 10.1.0.0/16 or fd00::/64"
	NotIPBlocks []string `json:"notIpBlocks,omitempty"`
	// RequestPrincipals are <issuer>/<subject> of the token that a RequestAuthentication verified; "*" is any
	// token. They need a waypoint.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.contains('/')",message="not a request principal: write <issuer>/<subject>"
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	RequestPrincipals []string `json:"requestPrincipals,omitempty"`
	// NotRequestPrincipals: ["*"] is a request without a token.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('*') || self.endsWith('*') || self.contains('/')",message="not a request principal: write <issuer>/<subject>"
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*]*[*]?$`
	NotRequestPrincipals []string `json:"notRequestPrincipals,omitempty"`
	// Claims of that token: all of them hold. They need a waypoint.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Claims []ClaimMatch `json:"claims,omitempty"`
}

// Operation is a conjunction about what is called. All but ports need a waypoint.
//
// +kubebuilder:validation:XValidation:rule="has(self.ports) || has(self.notPorts) || has(self.hosts) || has(self.notHosts) || has(self.methods) || has(self.notMethods) || has(self.paths) || has(self.notPaths) || has(self.headers)",message="the operation is empty: leave to out to mean every operation"
type Operation struct {
	// Ports are numbers in quotes ("8080"): of the workload; with targetRefs, of the service.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=5
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9]{1,5}$') && int(self) >= 1 && int(self) <= 65535",message="not a port: write a number from 1 to 65535 in quotes"
	Ports []string `json:"ports,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=5
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[0-9]{1,5}$') && int(self) >= 1 && int(self) <= 65535",message="not a port: write a number from 1 to 65535 in quotes"
	NotPorts []string `json:"notPorts,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	Hosts []string `json:"hosts,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	NotHosts []string `json:"notHosts,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self == self.upperAscii()",message="can never match: methods are upper case"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	Methods []string `json:"methods,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self == self.upperAscii()",message="can never match: methods are upper case"
	// +kubebuilder:validation:items:XValidation:rule="self.indexOf('*', 1) in [-1, size(self) - 1]",message="a star may only begin or end it: write e.g. a* or *a"
	NotMethods []string `json:"notMethods,omitempty"`
	// Paths as they are after normalisation, without the query. {name} stands for one segment, {**} at the end
	// for any number of them. Where a match refuses, case, ";parameters" and a slash at the end do not count.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('/') || self.startsWith('*')",message="can never match: paths begin with /"
	// +kubebuilder:validation:items:XValidation:rule="!self.matches('[?#]')",message="can never match: a path is compared without its query; leave ? and what follows out"
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*{}]*[*]?$|^(/[^/{}*]+|/[{][A-Za-z0-9_-]+[}])*(/|/[{][*][*]?[}])?$`
	Paths []string `json:"paths,omitempty"`
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:items:XValidation:rule="self.startsWith('/') || self.startsWith('*')",message="can never match: paths begin with /"
	// +kubebuilder:validation:items:XValidation:rule="!self.matches('[?#]')",message="can never match: a path is compared without its query; leave ? and what follows out"
	// +kubebuilder:validation:items:Pattern=`^[*]?[^*{}]*[*]?$|^(/[^/{}*]+|/[{][A-Za-z0-9_-]+[}])*(/|/[{][*][*]?[}])?$`
	NotPaths []string `json:"notPaths,omitempty"`
	// Headers: all of them hold. They need a waypoint.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Headers []HeaderCondition `json:"headers,omitempty"`
}
