// Package subscribe is a ztunnel's end of the discovery service that package xds serves: it reconnects with the
// versions it knows, hands changes to a Handler and refuses (NACK) what it cannot read while the last good value
// stays in use. A policy that cannot be read and has no last good value denies.
package subscribe
