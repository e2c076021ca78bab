// Package weftv1 is what Weft says on the wire beyond Istio's messages: extensions of istio.workload.Service.
// A ztunnel that does not know them ignores them. The code is generated from the .proto files beside it.
package weftv1

//go:generate bash ../../../hack/proto.sh
