package jwks

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
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
	// For are the namespaces whose policies want the keys: what is kept of the location counts as theirs.
	For []string
}

// and is the location for the namespaces of both, asked as often as the more eager wants.
func (l Location) and(other Location) Location {
	l.Refresh = min(l.Refresh, other.Refresh)
	l.For = slices.Concat(l.For, other.For)
	slices.Sort(l.For)
	l.For = slices.Compact(l.For)
	return l
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
