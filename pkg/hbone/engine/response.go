package engine

import (
	"strconv"
	"strings"
)

// Slots is how many more streams a client may open now.
func (c *Conn) Slots() int {
	if c.Draining() || !c.o.Client || c.nextID > maxWindow-2 {
		return 0
	}
	return max(0, min(c.o.MaxStreams, int(min(c.peerMax, 1<<20)))-len(c.streams))
}

// Open sends a CONNECT for authority.
func (c *Conn) Open(authority string, h []Field, user any) (*Stream, error) {
	if c.Draining() || c.nextID > maxWindow-2 {
		return nil, ErrGone
	}
	if c.Slots() == 0 {
		return nil, ErrNoSlot
	}
	s := c.newStream(c.nextID)
	s.User = user
	c.nextID += 2
	s.flags |= sentHeaders
	c.appendHeaders(s.ID, append([]Field{{":method", "CONNECT"}, {":authority", authority}}, h...), false)
	return s, nil
}

// onResponse handles a header block that a server sent.
func (c *Conn) onResponse(k fieldSink) error {
	id, end := c.block.stream, c.block.end
	s := c.streams[id]
	switch {
	case s == nil && c.isIdle(id):
		return connErr(ProtocolError, "HEADERS on stream %d, which is not open", id)
	case s == nil:
		return c.flood(floodStray, "HEADERS on streams that have ended")
	case s.has(gotHeaders):
		return c.trailers(s, end, k.fields)
	}
	status, ok := checkResponse(k)
	if !ok {
		return c.kill(s, ProtocolError)
	}
	if status < 200 {
		if end {
			return c.kill(s, ProtocolError)
		}
		return c.flood(floodBad, "informational responses")
	}
	s.flags |= gotHeaders
	c.emit(Event{Kind: Response, Stream: s, Status: status, Header: k.fields[1:]})
	if end {
		c.ended(s)
	}
	return nil
}

func checkResponse(k fieldSink) (status int, ok bool) {
	if k.over || len(k.fields) == 0 || k.fields[0].Name != ":status" || len(k.fields[0].Value) != 3 {
		return 0, false
	}
	status, err := strconv.Atoi(k.fields[0].Value)
	if err != nil || status < 100 || status > 599 {
		return 0, false
	}
	for _, f := range k.fields[1:] {
		if strings.HasPrefix(f.Name, ":") || !goodField(f) {
			return 0, false
		}
	}
	return status, true
}
