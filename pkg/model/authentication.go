package model

import "time"

// RequestAuthentication is which tokens of end users a target verifies.
type RequestAuthentication struct {
	// Required refuses requests without a token.
	Required  bool            `json:"required,omitempty"`
	Providers []TokenProvider `json:"providers"`
}

// TokenProvider is an issuer of tokens. Where a token may stand is said always.
type TokenProvider struct {
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences,omitempty"` // any of them; none means any at all
	// Keys is a JWKS of public keys that Envoy certainly takes. Empty: none are known, and every token of
	// the issuer is refused.
	Keys         string        `json:"keys,omitempty"`
	KeysFrom     string        `json:"keysFrom,omitempty"` // where they are fetched; empty: they stand in the policy
	FromHeaders  []TokenHeader `json:"fromHeaders,omitempty"`
	FromParams   []string      `json:"fromParams,omitempty"`
	FromCookies  []string      `json:"fromCookies,omitempty"`
	Forward      bool          `json:"forward,omitempty"` // leave the token in the request
	ClaimHeaders []ClaimHeader `json:"claimHeaders,omitempty"`
	ClockSkew    time.Duration `json:"clockSkew,omitempty"`
}

// TokenHeader is a header that carries tokens, after a prefix.
type TokenHeader struct {
	Name   string `json:"name"`
	Prefix string `json:"prefix,omitempty"`
}

// ClaimHeader is a header that a claim is written to, in the place of whatever the client sent.
type ClaimHeader struct {
	Header string   `json:"header"`
	Claim  []string `json:"claim"`
}

// TokenMatch is a conjunction about the token that was verified. A request without one has no principal and no
// claims: it passes only the not-lists.
type TokenMatch struct {
	Principals    []StringMatch `json:"principals,omitempty"` // issuer/subject
	NotPrincipals []StringMatch `json:"notPrincipals,omitempty"`
	Claims        []ClaimMatch  `json:"claims,omitempty"`
}

// ClaimMatch compares one claim. A list holds a value when any of its elements does.
type ClaimMatch struct {
	Claim     []string      `json:"claim"` // the path to it
	Values    []StringMatch `json:"values,omitempty"`
	NotValues []StringMatch `json:"notValues,omitempty"`
}
