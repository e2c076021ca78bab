// Package cli is weftctl: what a person types.
//
// Main is called by cmd/weftctl and by the tests' scripts. Commands write to the env's streams only, and
// return errors that carry their exit code; whatever a command decides lives in other packages.
package cli
