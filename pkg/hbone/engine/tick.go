package engine

import "time"

// Tick does what is due by the clock and says when to call it again. An error is a *ConnError and final,
// or ErrIdle.
func (c *Conn) Tick(now time.Time) (next time.Time, err error) {
	if c.failed != nil {
		return time.Time{}, c.failed
	}
	c.now = now
	next = now.Add(30 * time.Second) // what becomes due by a call of the driver is not seen sooner
	if len(c.streams) == 0 && c.idleSince.IsZero() {
		c.idleSince = now
	}
	if len(c.out) == 0 && cap(c.out) > recycleIdle {
		c.out, c.spare = nil, nil
	}
	due := func(since time.Time, after time.Duration) bool {
		if since.IsZero() || after < 0 {
			return false
		}
		at := since.Add(after)
		if !now.Before(at) {
			return true
		}
		if at.Before(next) {
			next = at
		}
		return false
	}
	switch {
	case due(c.waiting, c.o.StallTimeout):
		return next, c.fail(connErr(ProtocolError, "the rest of a frame did not come within %v", c.o.StallTimeout))
	case due(c.settingsAt, c.o.PingTimeout):
		return next, c.fail(connErr(SettingsTimeout, "SETTINGS not acknowledged within %v", c.o.PingTimeout))
	case due(c.pingAt, c.o.PingTimeout):
		return next, c.fail(connErr(NoError, "PING not answered within %v: the peer or the path to it is dead", c.o.PingTimeout))
	case due(c.idleSince, c.o.Idle):
		c.GoAway()
		return next, ErrIdle
	}
	if c.pingAt.IsZero() && due(c.lastReceive, c.o.PingEvery) {
		c.out = append(appendHeader(c.out, 8, framePing, 0, 0), "weftping"...)
		c.pingAt = now
		due(now, c.o.PingTimeout)
	}
	return next, nil
}
