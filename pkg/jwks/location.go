package jwks

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Location is where a key set is fetched.
type Location struct {
	// URI, http or https.
	URI string
	// CACertificates in PEM are whom to trust for its host. Default: what the system trusts.
	CACertificates string
	// Refresh is how often to ask for new keys.
	Refresh time.Duration
}

// ID is the same for the same URI, fetched with the same trust.
func (l Location) ID() string {
	if l.CACertificates == "" {
		return l.URI
	}
	h := sha256.Sum256([]byte(l.CACertificates))
	return l.URI + " " + hex.EncodeToString(h[:8])
}

// State is what is known of a location.
type State struct {
	// Keys fetched last, as Parse writes them. Empty before the first success.
	Keys string
	// Error of the last attempt, if it failed.
	Error string
}
