package api

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// RequestAuthentication verifies the tokens (JWT) that end users send.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=requestauthentications,shortName=wra,categories=weft
// +kubebuilder:metadata:annotations="helm.sh/resource-policy=keep"
// +kubebuilder:printcolumn:name=Targets,type=string,JSONPath=`.spec.targetRefs[*].name`
// +kubebuilder:printcolumn:name=Accepted,type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name=Enforced,type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
type RequestAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              RequestAuthenticationSpec `json:"spec"`
	Status            Status                    `json:"status,omitzero"`
}

// RequestAuthenticationSpec is what a person writes.
//
// All policies that concern a request count: its Service's and its waypoint's. Each provider of theirs may
// vouch for a token, and one that says required is enough to require one.
type RequestAuthenticationSpec struct {
	// TargetRefs are Services, their ports by sectionName, or Gateways of class weft-waypoint.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:XValidation:rule="self.kind == 'Service' ? !has(self.group) || self.group in ['', 'core'] : self.kind == 'Gateway' && has(self.group) && self.group == 'gateway.networking.k8s.io'",message="no target: name a Service, or a Gateway with group: gateway.networking.k8s.io"
	TargetRefs []TargetRef `json:"targetRefs"`
	// Required refuses requests without a token. By default such a request passes, as nobody's; a token
	// that is not valid is refused always. The answer is 401.
	Required bool `json:"required,omitempty"`
	// Providers are whose tokens count here.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Providers []TokenProvider `json:"providers"`
}

// TokenProvider is one issuer of tokens.
type TokenProvider struct {
	// Issuer is the claim iss, exactly.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:Pattern=`^[^ \t\n]+$`
	Issuer string `json:"issuer"`
	// Audiences: one of them has to be in the claim aud. None: any audience.
	//
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Audiences []string `json:"audiences,omitempty"`
	// JWKS is where the issuer's public keys come from.
	JWKS KeySource `json:"jwks"`
	// FromHeaders are the headers that may carry the token. Without any of the three places:
	// Authorization, after "Bearer ".
	//
	// +kubebuilder:validation:MaxItems=8
	FromHeaders []TokenHeader `json:"fromHeaders,omitempty"`
	// FromParams are query parameters that may carry it.
	//
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9._~-]+$`
	FromParams []string `json:"fromParams,omitempty"`
	// FromCookies are cookies that may carry it.
	//
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[A-Za-z0-9._~-]+$`
	FromCookies []string `json:"fromCookies,omitempty"`
	// Forward leaves the token in the request. By default the application does not get it.
	Forward bool `json:"forward,omitempty"`
	// ClaimsToHeaders hands claims to the application. What a client sends under these names is removed.
	//
	// +kubebuilder:validation:MaxItems=16
	ClaimsToHeaders []ClaimHeader `json:"claimsToHeaders,omitempty"`
	// ClockSkew is how far clocks may differ when exp and nbf are looked at. Default 60s.
	//
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('10m')",message="not a clock's error: write 1s to 10m"
	ClockSkew *metav1.Duration `json:"clockSkew,omitempty"`
}

// KeySource is a set of keys (JWKS): as text, as objects, or where the controller fetches it.
//
// +kubebuilder:validation:XValidation:rule="(has(self.inline) ? 1 : 0) + (has(self.keys) ? 1 : 0) + (has(self.uri) ? 1 : 0) == 1",message="keys come from one place: write inline, keys, or uri"
// +kubebuilder:validation:XValidation:rule="has(self.uri) || !has(self.refresh) && !has(self.caCertificates)",message="only keys of a uri are fetched: leave refresh and caCertificates out"
type KeySource struct {
	// Inline is the set as JSON text: {"keys": [...]}.
	//
	// +kubebuilder:validation:MinLength=2
	// +kubebuilder:validation:MaxLength=65536
	Inline string `json:"inline,omitempty"`
	// Keys are the set's keys.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Keys []PublicKey `json:"keys,omitempty"`
	// URI of the set. The controller fetches it, waypoints do not: until it has done so for the first time
	// the issuer's tokens are refused, and later failures leave the last good keys in force.
	//
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHost() != ''",message="not an address to fetch keys from: write https://host/path"
	URI string `json:"uri,omitempty"`
	// Refresh is how often the URI is asked for new keys. Default 5m.
	//
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('10s') && duration(self) <= duration('24h')",message="out of range: write 10s to 24h"
	Refresh *metav1.Duration `json:"refresh,omitempty"`
	// CACertificates in PEM are whom to trust for the URI's host. Default: what the controller's system trusts.
	//
	// +kubebuilder:validation:MaxLength=65536
	CACertificates string `json:"caCertificates,omitempty"`
}

// PublicKey is one JSON Web Key (RFC 7517).
type PublicKey struct {
	// KeyType is RSA, EC or OKP.
	//
	// +kubebuilder:validation:Enum=RSA;EC;OKP
	KeyType string `json:"kty"`
	// ID is the kid of tokens signed by it.
	//
	// +kubebuilder:validation:MaxLength=256
	ID string `json:"kid,omitempty"`
	// +kubebuilder:validation:MaxLength=16
	Algorithm string `json:"alg,omitempty"`
	// +kubebuilder:validation:MaxLength=16
	Use string `json:"use,omitempty"`
	// +kubebuilder:validation:MaxLength=16
	Curve string `json:"crv,omitempty"`
	// +kubebuilder:validation:MaxLength=1024
	X string `json:"x,omitempty"`
	// +kubebuilder:validation:MaxLength=1024
	Y string `json:"y,omitempty"`
	// +kubebuilder:validation:MaxLength=4096
	N string `json:"n,omitempty"`
	// +kubebuilder:validation:MaxLength=64
	E string `json:"e,omitempty"`
}

// TokenHeader is a header that carries tokens.
type TokenHeader struct {
	// Name of the header.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	Name string `json:"name"`
	// Prefix stands before the token, e.g. "Bearer ".
	//
	// +kubebuilder:validation:MaxLength=32
	Prefix string `json:"prefix,omitempty"`
}

// ClaimHeader hands one claim to the application.
type ClaimHeader struct {
	// Header to write it to.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9._-]+$`
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['host', 'authorization', 'x-weft-dst', 'x-forwarded-client-cert', 'x-forwarded-for', 'connection', 'content-length', 'transfer-encoding'])",message="not for claims: choose a header of your own, e.g. x-user"
	Header string `json:"header"`
	// Claim is the path to it: one name, or several where it lies in objects.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	Claim []string `json:"claim"`
}
