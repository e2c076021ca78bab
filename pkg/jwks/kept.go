package jwks

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

const (
	// MaxAge of a set that was kept from an earlier run: keys that were withdrawn meanwhile must not come back much later.
	MaxAge = 24 * time.Hour
	// keepEvery is how often a set that stays the same is kept again, so that its age is known to the hour.
	keepEvery = time.Hour
	// maxFor is how many namespaces are kept with a set.
	maxFor = 16
)

// Kept is a set as it outlives the process that fetched it.
type Kept struct {
	URI     string    `json:"uri"`
	Fetched time.Time `json:"fetched"`
	Keys    string    `json:"keys"`
	// For are namespaces whose policies want it, the first of them by name where they are many.
	For []string `json:"for,omitempty"`
}

// Old reports whether it was fetched too long ago to be used, or at a time that has not come yet.
func (k Kept) Old(now time.Time) bool {
	age := now.Sub(k.Fetched)
	return age > MaxAge || age < -time.Minute
}

// Name of a location, for what is kept of it: letters and digits.
func (l Location) Name() string {
	h := sha256.Sum256([]byte(l.ID()))
	return hex.EncodeToString(h[:16])
}

// restore is what was kept of a location, empty if it is of no use. It is read like what a server sends.
func (f *Fetcher) restore(l Location) string {
	k, ok := f.o.Kept[l.Name()]
	if !ok || k.URI != l.URI || k.Old(f.o.Now()) {
		return ""
	}
	keys, err := Parse([]byte(k.Keys))
	if err != nil {
		return ""
	}
	return keys
}

// keeping remembers of one location what was kept last.
type keeping struct {
	keys string
	at   time.Time
}

// keep hands over what was fetched, if it is new, or its age would be unknown for long.
func (f *Fetcher) keep(l Location, keys string, last *keeping) {
	now := f.o.Now()
	if f.o.Keep == nil || keys == last.keys && now.Sub(last.at) < keepEvery {
		return
	}
	*last = keeping{keys, now}
	f.mu.Lock()
	whose := f.watched[l.ID()].For // others may want it since the watch began
	f.mu.Unlock()
	f.o.Keep(l.Name(), Kept{URI: l.URI, Fetched: now, Keys: keys, For: whose[:min(len(whose), maxFor)]})
}
