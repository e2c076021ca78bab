package cni

import (
	"errors"
	"net/netip"
	"path/filepath"
)

// PluginName is the plugin's type in CNI configuration and the name of its file.
const PluginName = "weft-cni"

// DefaultSocket is where the agent listens, unless told otherwise.
const DefaultSocket = "/var/run/weft/cni.sock"

// StatePath is the State file of the agent that has this socket.
func StatePath(socket string) string { return filepath.Join(filepath.Dir(socket), "cni-state.json") }

// LogPath is the log of the plugin that asks at this socket.
func LogPath(socket string) string { return filepath.Join(filepath.Dir(socket), "weft-cni.log") }

// Pod is what a call of the container runtime is about.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// UID of the object; empty where the runtime does not tell.
	UID string `json:"uid,omitempty"`
	// Netns is where the pod's network namespace can be opened. For a Handler it is a path that is good during the
	// call only, and is empty where the namespace is gone, as on Del.
	Netns string `json:"netns,omitempty"`
	// ContainerID of the sandbox: another one means another network namespace.
	ContainerID string `json:"containerID"`
	// Addresses that the plugins before us have given to Interface, IPv4 and IPv6.
	Addresses []netip.Addr `json:"addresses,omitempty"`
	// Interface inside the pod, eth0 as a rule.
	Interface string `json:"interface"`
}

// Key names a pod for people.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// request is a call on the wire. Fields may be added; a change of meaning wants another version in the path.
type request struct {
	Pod
	// NetnsFD is the plugin's descriptor of the namespace, which works across mount namespaces. 0: none.
	NetnsFD int `json:"netnsFD,omitempty"`
	// WaitMS is for how long the plugin will wait, in milliseconds. 0: it does not say.
	WaitMS int64 `json:"waitMS,omitempty"`
}

// response is the answer; Error is empty where all is well.
type response struct {
	Error string `json:"error,omitempty"`
}

const (
	version  = "/v1/"
	maxBytes = 64 << 10 // of a request or a response
)

// Operations, as they stand in paths, logs and metrics.
const (
	opAdd   = "add"
	opDel   = "del"
	opCheck = "check"
)

var (
	// ErrAway: nobody answers on the socket, or whoever did has died in the middle. Worth another attempt.
	ErrAway = errors.New("the agent cannot be reached")
	// ErrSlow: the agent is there and has not answered in time.
	ErrSlow = errors.New("the agent has not answered in time")
	// ErrRefused: the agent said no; its words are in the error.
	ErrRefused = errors.New("the agent refuses")
	// ErrInUse: another agent serves the socket.
	ErrInUse = errors.New("another agent serves the CNI socket")
)
