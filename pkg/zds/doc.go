// Package zds is both ends of the protocol by which an agent gives pods to a ztunnel.
//
// The wire is that of Istio's ambient mesh (istio.workload.zds), so that either end can be replaced by a
// program of another maker: a unix socket of type SOCK_SEQPACKET on which the agent listens, one protobuf
// message a packet, the pod's network namespace as a file descriptor beside it.
//
//	ztunnel ── ZdsHello V1 ────────────────────────────► agent
//	ztunnel ◄─ AddWorkload uid, who, + netns ─────────── agent   each pod of the node,
//	ztunnel ◄─ KeepWorkload uid ──────────────────────── agent   or this, while its namespace cannot be opened
//	ztunnel ── Ack, or Ack with an error ──────────────► agent   one for each, in order
//	ztunnel ◄─ SnapshotSent ──────────────────────────── agent   pods that were not named are gone
//	ztunnel ◄─ AddWorkload, DelWorkload ──────────────── agent   from then on
//
// An Ack without an error to AddWorkload says that the pod can be served: its certificate is there and its
// listeners are up.
//
// Agent keeps the list of pods and tells it to every ztunnel that connects, also to two at once while one
// replaces the other: the latest gets the new pods. Proxy is the ztunnel's end; it connects again whenever
// the agent has been away, and pods are served meanwhile. Requests are sent ahead of their Acks, up to a
// window, and Proxy starts several pods at a time, so that a node full of pods is back quickly after a
// restart; the order of the Acks is kept, which is all that a peer can see.
package zds

import (
	"errors"

	"istio.io/istio/pkg/zdsapi"
)

// DefaultPath of the socket. It has its folder for itself, which is all that a ztunnel is given of the node's files.
const DefaultPath = "/var/run/weft/ztunnel/zds.sock"

// Sentinels, to be tested with errors.Is.
var (
	// ErrNoProxy: no ztunnel is connected. The pod is on the list and told to the next one.
	ErrNoProxy = errors.New("no ztunnel is connected")
	// ErrDisconnected: the ztunnel went away before it answered.
	ErrDisconnected = errors.New("ztunnel disconnected")
	// ErrRefused: the ztunnel answered with an error.
	ErrRefused = errors.New("ztunnel refused")
	// ErrGone: the pod was taken off the list before it could be sent.
	ErrGone = errors.New("pod was removed")
	// ErrInUse: another agent listens on the socket.
	ErrInUse = errors.New("another agent is listening")
)

// WorkloadInfo says who a pod is.
type WorkloadInfo struct {
	Name           string
	Namespace      string
	ServiceAccount string
}

func (w WorkloadInfo) message() *zdsapi.WorkloadInfo {
	return &zdsapi.WorkloadInfo{Name: w.Name, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount}
}
