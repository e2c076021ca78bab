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
	c.wakeWaiting()
	c.since = c.env.clock.Now()
	c.letGo(c.since)
	return urgent, bulk
}

// resetStream ends s both ways, behind the data that it has sent; mu is held.
func (c *conn) resetStream(s *Stream, code engine.Code) {
	if s.inBulk == c.bulkGen {
		c.bulk = c.eng.AppendReset(c.bulk, s.es, code)
		return
	}
	c.eng.Reset(s.es, code)
}

// wait makes s be woken when there may be room; mu is held.
func (c *conn) wait(s *Stream) <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	if !s.asleep {
		s.asleep = true
		if c.eng.Sendable(s.es) > 0 {
			c.waiting = append(c.waiting, s)
		}
	}
	return s.wake
}

// wakeWaiting wakes those who wait for room; mu is held.
func (c *conn) wakeWaiting() {
	for i, s := range c.waiting {
		s.wakeUp()
		c.waiting[i] = nil
	}
	c.waiting = c.waiting[:0]
}

// windowOpened wakes those who wait for a window; mu is held.
func (c *conn) windowOpened(es *engine.Stream) {
	if es == nil {
		c.wakeAll()
	} else if s, ok := es.User.(*Stream); ok {
		s.wakeUp()
	}
}

func (c *conn) wakeAll() {
	c.eng.Each(func(es *engine.Stream) {
		if s, ok := es.User.(*Stream); ok {
			s.wakeUp()
		}
	})
	c.wakeWaiting()
}
