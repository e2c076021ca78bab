// Package calls is the traffic of a soak: what a pod of the shop asks of the others, at a constant rate.
//
// It runs inside a pod ("weft-soak call ROLE") and writes a Tally as a line of JSON every few seconds. Each
// kind of call knows what has to come of it: an answer, a refusal, or one of the two where a Fault draws
// lots. Everything else is a failure, with its time, so that the reader can hold it against what happened
// to the mesh at that moment.
package calls

import (
	"context"
	"time"
)

// Role is who calls.
type Role string

// Roles, each run in a pod of its own.
const (
	Frontend Role = "frontend" // an ordinary member: HTTP, gRPC, DNS; payments refuses it by policy
	Shopper  Role = "shopper"  // has the cart's account, so it may pay: TCP in which the server speaks first
	Stranger Role = "stranger" // outside of the mesh: STRICT refuses it
)

// Card is in what is sent through the mesh, and must never be seen on the link.
const Card = "4929-7226-WEFT-SOAK"

// Outcomes of calls that went as they should.
const (
	OK        = "ok"
	Faulted   = "faulted"   // aborted by the Fault, as it draws
	Refused   = "refused"   // as policy wants it
	Cancelled = "cancelled" // by the caller, under way
)

// kind is one sort of call. call returns one of the outcomes, or what went wrong.
type kind struct {
	name  string
	every time.Duration
	call  func(context.Context) (outcome string, err error)
}

// limit of one call. It is long: the race detector on a busy machine is slow, and what is measured here is
// whether calls succeed, not how fast.
const limit = 15 * time.Second
