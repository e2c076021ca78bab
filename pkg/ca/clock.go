package ca

import "time"

// Clock is time as this package uses it; tests inject their own.
type Clock interface {
	Now() time.Time
	// After delivers the time once d has passed.
	After(d time.Duration) <-chan time.Time
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// After is time.After.
func (SystemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// ClockSkew is how far two clocks of a mesh may differ, in either direction: certificates are valid from so long before
// they are signed, and tokens are taken so long before and after their time. Nothing is lost at the other end of a
// certificate's life as long as half of it is longer, for then whose clock is behind has renewed it.
const ClockSkew = 2 * time.Minute

func clockOr(c Clock) Clock {
	if c == nil {
		return SystemClock{}
	}
	return c
}
