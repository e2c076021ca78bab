package controller

import (
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

func cors(f *gatewayv1.HTTPCORSFilter) *model.CORS {
	out := &model.CORS{Credentials: f.AllowCredentials != nil && *f.AllowCredentials, MaxAge: f.MaxAge}
	out.Origins = texts(f.AllowOrigins)
	out.Methods = texts(f.AllowMethods)
	out.Headers = texts(f.AllowHeaders)
	out.Expose = texts(f.ExposeHeaders)
	return out
}

func texts[T ~string](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}
