package hbone

import "github.com/weftmesh/weft/pkg/hbone/engine"

// pending reports output; mu is held.
func (c *conn) pending() bool {
	return c.eng.Pending() > 0 || len(c.bulk) > 0 || c.d.unflushed()
}

// takeOut takes what is pending, urgent first, and begins the next bulk; mu is held.
func (c *conn) takeOut() (urgent, bulk []byte) {
	urgent, bulk = c.eng.Take(), c.bulk
	c.bulk, c.bulkBuf = nil, nil
	c.bulkGen++
	c.share = max(c.env.limits.Batch/(1+len(c.waiting)), leastShare)
	c.invite()
	c.since = c.env.clock.Now()
	c.letGo(c.since)
	return urgent, bulk
}

// resetStream ends s both ways, behind the data that it has sent; mu is held.
func (c *conn) resetStream(s *Stream, code engine.Code) {
	if s.inBulk == c.bulkGen {
		c.bulk = c.eng.AppendReset(c.bulk, s.es, code)
	} else {
		c.eng.Reset(s.es, code)
	}
	c.pass(s)
}

// windowOpened wakes those who wait for a window; mu is held.
func (c *conn) windowOpened(es *engine.Stream) {
	if es == nil {
		c.wakeSendable()
	} else if s, ok := es.User.(*Stream); ok {
		s.wakeUp()
	}
}

// wakeSendable wakes those who can send; mu is held. Whom the connection's window has kept waiting stands in a line.
func (c *conn) wakeSendable() {
	c.eng.Each(func(es *engine.Stream) {
		if s, ok := es.User.(*Stream); ok && s.asleep && !s.waits && c.eng.Sendable(es) > 0 {
			s.wakeUp()
		}
	})
	c.invite()
}

// wakeAll wakes everybody, since the connection has ended; mu is held.
func (c *conn) wakeAll() {
	c.eng.Each(func(es *engine.Stream) {
		if s, ok := es.User.(*Stream); ok {
			s.wakeUp()
		}
	})
	c.waiting = nil
}
