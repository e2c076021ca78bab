package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// session has a route remember the endpoint: in a cookie that the caller is given, or in a header that it
// has to send again. When the endpoint is gone another one is taken, and remembered.
func session(s *model.Session) *anypb.Any {
	state := &corev3.TypedExtensionConfig{
		Name:        "envoy.http.stateful_session.header",
		TypedConfig: pack(&headerv3.HeaderBasedSessionState{Name: s.Header}),
	}
	if s.Cookie != "" {
		state = &corev3.TypedExtensionConfig{
			Name: "envoy.http.stateful_session.cookie",
			TypedConfig: pack(&cookiev3.CookieBasedSessionState{Cookie: &httpv3.Cookie{
				Name: s.Cookie, Path: "/", Ttl: seconds(s.TTL), Attributes: []*httpv3.CookieAttribute{{Name: "HttpOnly"}},
			}}),
		}
	}
	return pack(&sessionv3.StatefulSessionPerRoute{Override: &sessionv3.StatefulSessionPerRoute_StatefulSession{
		StatefulSession: &sessionv3.StatefulSession{SessionState: state},
	}})
}
