// Package telemetry is what a proxy says about its traffic: Prometheus metrics and an access log.
//
// Names and labels are those of the field (reporter, source_workload, source_principal,
// destination_service, connection_security_policy, response_flags, ...), only the prefix is ours and it
// can be set, so that dashboards made for other meshes work.
//
// A connection takes one Series from Metrics.Acquire when it opens and counts on it without a lock or a
// map: four atomic words. Series are counted and bounded: past MaxSeries distinct label sets new
// connections count on an overflow series, so that a scan of addresses cannot eat the memory of the
// node. A series that no connection has used for IdleAfter is forgotten.
//
// The label connection_security_policy is mutual_tls only where the caller passes SecurityMutualTLS,
// which it may do only after a verified handshake.
package telemetry
