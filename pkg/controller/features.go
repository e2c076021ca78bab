package controller

// SupportedFeatures are those of Gateway API that the conformance suite has seen to work, sorted.
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
