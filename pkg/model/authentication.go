package model

// RequestAuthentication is which tokens of end users a target verifies.
type RequestAuthentication struct {
}
