package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
)

// drainScript ends a client's connection with its answer: "connection: close" in HTTP/1, GOAWAY in HTTP/2.
const drainScript = "function envoy_on_response(h)\n  h:streamInfo():drainConnectionUponCompletion()\nend\n"

// draining asks whoever still calls a service here that has left this waypoint to connect anew, which then
// leads past it. A connection between a client and a waypoint lives as long as both like: were the service just
// taken away, all that comes over it would be answered 404 until the client gives it up.
func (b *builder) draining(t *target, e *entry) []Source {
	if t.service == nil || !t.service.Draining {
		return nil
	}
	perFilter(e.route, filterDrain, pack(&luav3.LuaPerRoute{Override: &luav3.LuaPerRoute_SourceCode{
		SourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: drainScript}},
	}}))
	return nil
}
