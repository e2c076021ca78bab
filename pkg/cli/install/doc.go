// Package install puts Weft's chart into a cluster and takes it out again.
//
// It is Helm, as a library, on the chart that is part of this binary: what weftctl installs, helm lists,
// upgrades and rolls back, and the other way round. The commands of weftctl call it after the preflight.
package install
