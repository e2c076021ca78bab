package api

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// FaultSource is a conjunction over a caller's identity; several in a list are alternatives.
//
// +kubebuilder:validation:XValidation:rule="has(self.namespaces) || has(self.serviceAccounts)",message="the caller is not named: write namespaces or serviceAccounts"
type FaultSource struct {
	// Namespaces of callers.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",message="not the name of a namespace: write it out, in small letters"
	// +listType=set
	Namespaces []string `json:"namespaces,omitempty"`
	// ServiceAccounts of callers: namespace/name, or name for one in the object's own namespace.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([-a-z0-9]+/)?[-a-z0-9.]+$')",message="not a service account: write name or namespace/name"
	// +listType=set
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
}

// FaultConnection does harm to connections, at the node of their caller: whatever is spoken on them, and with a
// waypoint or without. Each kind is rolled for itself, in the order delay, refuse, reset, bandwidth.
//
// +kubebuilder:validation:XValidation:rule="has(self.delay) || has(self.refuse) || has(self.reset) || has(self.bandwidth)",message="nothing happens to connections: write delay, refuse, reset or bandwidth"
// +kubebuilder:validation:XValidation:rule="!has(self.delay) || !has(self.delay.distribution)",fieldPath=".delay.distribution",message="only delays of requests are spread: leave distribution out"
type FaultConnection struct {
	// Delay a share of connections before they are made.
	Delay *FaultDelay `json:"delay,omitempty"`
	// Refuse a share of connections.
	Refuse *FaultRefuse `json:"refuse,omitempty"`
	// Reset a share of connections in their course.
	Reset *FaultReset `json:"reset,omitempty"`
	// Bandwidth of a share of connections is limited.
	Bandwidth *FaultBandwidth `json:"bandwidth,omitempty"`
}

// FaultRefuse resets a connection instead of making it.
type FaultRefuse struct {
	// Percentage of the connections, 0 to 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage float64 `json:"percentage"`
}

// FaultReset resets a connection that has carried so much.
type FaultReset struct {
	// Percentage of the connections, 0 to 100.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage float64 `json:"percentage"`
	// AfterBytes in both directions together. Left out: at once.
	AfterBytes *ByteCount `json:"afterBytes,omitempty"`
}

// FaultBandwidth limits how fast bytes pass.
type FaultBandwidth struct {
	// Percentage of the connections, 0 to 100. Left out: all of them.
	//
	// +kubebuilder:validation:XValidation:rule="self >= 0.0 && self <= 100.0",message="not a percentage: write 0 to 100"
	Percentage *float64 `json:"percentage,omitempty"`
	// Limit in bytes per second, of each direction of each connection, e.g. 64Ki.
	Limit ByteCount `json:"limit"`
}

// ByteCount is a number of bytes in the notation of Kubernetes quantities: "500", 64Ki, 1M.
//
// +kubebuilder:validation:MaxLength=16
// +kubebuilder:validation:XValidation:rule="self.matches('^[1-9][0-9]{0,8}(k|M|G|Ki|Mi|Gi)?$')",message="not a number of bytes: write e.g. \"500\", 64Ki or 1M"
type ByteCount string

// Value is the number; what the schema refuses is 0.
func (b ByteCount) Value() uint64 {
	q, err := resource.ParseQuantity(string(b))
	if err != nil || q.Sign() < 0 {
		return 0
	}
	return uint64(q.Value())
}
