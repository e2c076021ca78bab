package install

import "time"

const (
	// burst is how long is waited after a change, for all the events of one change to arrive.
	burst = 5 * time.Millisecond
	// quiet is how long nobody may have undone our work for a quarrel to be over.
	quiet = 20 * time.Second
	// quarrelAt is how many changes in a row are called a quarrel.
	quarrelAt = 8
)

// pause grows while somebody undoes what we do.
type pause struct {
	max     time.Duration
	last    time.Time // of our changes
	quarrel int       // how many came soon after the one before
}

// after is how long to keep still after a round.
func (p *pause) after(changed bool, now time.Time) time.Duration {
	if !changed {
		return burst
	}
	if now.Sub(p.last) > quiet {
		p.quarrel = 0
	}
	p.quarrel++
	p.last = now
	return min(burst<<min(p.quarrel, 16), p.max)
}
