package controller

// SupportedFeatures are the features that our GatewayClass declares in its status, by Gateway API's names, sorted.
// `make conformance` tests exactly these, and docs/conformance/report.yaml is held against them: one that is added
// here without passing there fails both.
func SupportedFeatures() []string {
	return []string{
		"GRPCRoute",
		"HTTPRoute",
		"HTTPRoute303RedirectStatusCode",
		"HTTPRoute307RedirectStatusCode",
		"HTTPRoute308RedirectStatusCode",
		"HTTPRouteParentRefPort",
		"HTTPRouteResponseHeaderModification",
		"Mesh",
		"MeshClusterIPMatching",
		"MeshConsumerRoute",
		"MeshHTTPRouteBackendRequestHeaderModification",
		"MeshHTTPRouteNamedRouteRule",
		"MeshHTTPRouteQueryParamMatching",
		"MeshHTTPRouteRedirectPath",
		"MeshHTTPRouteRedirectPort",
		"MeshHTTPRouteRewritePath",
		"MeshHTTPRouteSchemeRedirect",
	}
}
