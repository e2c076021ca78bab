// Package report gathers what a person who was not there needs to find a fault: versions, checks, objects,
// events, the programs' pages and logs, in one tar.gz. weftctl bug-report is its caller.
//
// Secrets are never read. Of pods that are not Weft's own only what the mesh cares about is kept: no
// environment, arguments, volumes or annotations of others. Every text passes Redact on its way into the archive.
package report
