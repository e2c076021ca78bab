package netns

import (
	"math/rand/v2"
)

// A connection that borrows its client's address meets that client's genuine
// connections in the same namespace: the tuples (client:port → pod:app) share
// one space, and equal ports mean stalls and resets. Linux clients draw from
// 32768–60999 unless told otherwise, so borrowed connections stay out of it:
// first above, where hardly anything listens either; when crowded, below.
// IP_LOCAL_PORT_RANGE cannot express this, being clamped by the namespace's
// sysctl.
const (
	upperFirst, upperLast = 61000, 65535
	lowerFirst, lowerLast = 10240, 32767

	// Attempts in the upper range before the lower is tried as well, and in all.
	upperAttempts, allAttempts = 24, 96
)

// candidate is the port to try at the given attempt (from 0).
func candidate(attempt int) uint16 {
	if attempt < upperAttempts || attempt%2 == 0 {
		return uint16(upperFirst + rand.IntN(upperLast-upperFirst+1))
	}
	return uint16(lowerFirst + rand.IntN(lowerLast-lowerFirst+1))
}
