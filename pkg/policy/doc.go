// Package policy decides whether a connection may be made. It is pure: a connection and the policies
// go in, a verdict comes out; nothing is looked up, awaited or logged.
//
// A ztunnel compiles the policies that bind a workload of its node into a Set (those that the workload
// lists, its namespace's and the mesh's: index.PoliciesFor) and asks it for every connection that comes
// in, and again for the open ones when a policy changes. `weftctl why` asks the same code.
//
// # Order
//
//  1. a DENY policy matches: refused
//  2. there is no ALLOW policy: allowed
//  3. an ALLOW policy matches: allowed
//  4. else: refused
//
// # Closed where in doubt
//
// What cannot be evaluated never opens a door: an ALLOW policy that asks for more than L4 offers, or
// that holds a value this version does not know, matches nothing; such a DENY policy matches everything.
// A nil *Set refuses. A policy that is listed but not received is the caller's to refuse; see Missing.
//
// A policy in dry run changes no verdict. Its name is reported in Verdict.DryRun when enforcing it would
// have refused the connection.
package policy
