package controller

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// SupportedFeatures are those of Gateway API that its conformance suite has seen to work, sorted.
var SupportedFeatures = []gatewayv1.FeatureName{"GRPCRoute", "HTTPRoute", "Mesh", "ReferenceGrant"}
