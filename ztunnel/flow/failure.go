package flow

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// Failure is why a connection was refused or cut, for the people who read the access log.
type Failure struct {
	Flag   telemetry.Flag
	Cause  string // what happened
	Hint   string // likely cause and next step
	Policy string // policy that refused it, if one did
	Err    error  // what went wrong underneath, if anything
}

// Error says all of it.
func (f *Failure) Error() string {
	s := f.Cause
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s
}

// Unwrap returns the error underneath.
func (f *Failure) Unwrap() error { return f.Err }

// NoConfiguration refuses everything until the controller has been heard.
func NoConfiguration() *Failure {
	return &Failure{Flag: telemetry.FlagNoRoute, Cause: "no configuration yet",
		Hint: "this ztunnel has not yet received the mesh from the controller; see /ready and its log for the connection to it"}
}

// UnknownPod refuses what belongs to a pod that the controller does not know.
func UnknownPod(namespace, name string) *Failure {
	return &Failure{Flag: telemetry.FlagNoRoute, Cause: "pod " + namespace + "/" + name + " is not known to the controller",
		Hint: "it was enrolled on this node but is not in the configuration; see whether the controller reads this cluster's pods"}
}

// Denied is a policy's refusal.
func Denied(policy, reason string) *Failure {
	return &Failure{Flag: telemetry.FlagDenied, Policy: policy, Cause: "refused by policy: " + reason,
		Hint: "weftctl why SOURCE DESTINATION:PORT shows which rule decides and where"}
}

// Injected is what a Fault did.
func Injected(fault, did string) *Failure {
	return &Failure{Flag: telemetry.FlagFault, Cause: did + " by Fault " + fault,
		Hint: "somebody tests how callers take it; to end it delete the Fault, or let it expire"}
}

// Draining is the end of a graceful stop.
func Draining() *Failure {
	return &Failure{Flag: telemetry.FlagDuration, Cause: "ztunnel stopped and the drain time is over"}
}

// PodGone ends the connections of a pod that left the mesh.
func PodGone() *Failure {
	return &Failure{Flag: telemetry.FlagDuration, Cause: "the pod was deleted or left the mesh"}
}

// Dial explains a failed connection to what: a pod, a tunnel, an application.
func Dial(what string, err error) *Failure {
	f := &Failure{Flag: telemetry.FlagConnectFailure, Cause: "cannot connect to " + what, Err: err}
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		f.Hint = "nothing listens there: the application is not up, listens on another port or only on another address"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		f.Hint = "no answer: the pod may be gone, or a NetworkPolicy or firewall drops port 15008 or the application's port"
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		f.Hint = "no route to that address: the pod may be gone or its node unreachable"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		f.Flag = telemetry.FlagOverload
		f.Hint = "ztunnel is out of descriptors or memory: raise its limits or look for a leak in /connections"
	}
	return f
}

// Broken explains how an established connection ended before its time, unless err does so itself.
func Broken(err error) *Failure {
	var f *Failure
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return &Failure{Flag: telemetry.FlagUpstreamReset, Cause: "the connection timed out", Err: err}
	case errors.Is(err, relay.ErrClient):
		return &Failure{Flag: telemetry.FlagClientReset, Cause: "the client reset the connection", Err: err}
	}
	return &Failure{Flag: telemetry.FlagUpstreamReset, Cause: "the destination reset the connection", Err: err}
}
