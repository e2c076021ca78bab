package engine

import (
	"strconv"
	"strings"
)

// onRequest handles a header block that a client sent: a new stream, or the trailers of one.
func (c *Conn) onRequest(k fieldSink) error {
	id, end := c.block.stream, c.block.end
	if s := c.streams[id]; s != nil {
		return c.trailers(s, end, k.fields)
	}
	switch {
	case id%2 == 0:
		return connErr(ProtocolError, "a client's stream has the even number %d", id)
	case id <= c.lastPeerID:
		if lately, _ := c.endedLately(id); lately {
			return connErr(StreamClosed, "HEADERS on stream %d, which has ended", id)
		}
		return connErr(ProtocolError, "stream %d came after stream %d", id, c.lastPeerID)
	}
	c.lastPeerID = id
	if c.sentGoAway || len(c.streams) >= c.o.MaxStreams {
		return c.turnAway(id, RefusedStream)
	}
	status, ok := c.check(k)
	if !ok {
		return c.turnAway(id, ProtocolError)
	}
	s := c.newStream(id)
	if end {
		s.flags |= gotEnd
	}
	if status != 0 {
		if err := c.flood(floodBad, "requests that are no CONNECT"); err != nil {
			return err
		}
		c.Respond(s, status, nil, true)
		return nil
	}
	// A good CONNECT has exactly two pseudo fields, and :authority is first.
	c.emit(Event{Kind: Request, Stream: s, Header: append(k.fields[:1], k.fields[2:]...)})
	if end {
		c.emit(Event{Kind: End, Stream: s})
	}
	return nil
}

// turnAway refuses a stream that was never entered into the table.
func (c *Conn) turnAway(id uint32, code Code) error {
	if err := c.flood(floodBad, "refused streams"); err != nil {
		return err
	}
	c.out = appendUint32Frame(c.out, frameRST, id, uint32(code))
	c.remember(id, false)
	return nil
}

// check validates a request (RFC 9113, sections 8.2, 8.3 and 8.5). A malformed one is not ok; one that is
// well-formed, but not a CONNECT that we could serve, gets a status. A good one has :authority in front.
func (c *Conn) check(k fieldSink) (status int, ok bool) {
	if k.over {
		return 431, true
	}
	pseudo := map[string]string{}
	regular, at := false, 0
	for i, f := range k.fields {
		if !strings.HasPrefix(f.Name, ":") {
			if regular = true; !goodField(f) {
				return 0, false
			}
			continue
		}
		_, dup := pseudo[f.Name]
		if regular || dup {
			return 0, false
		}
		switch f.Name {
		case ":authority":
			at = i
		case ":method", ":scheme", ":path":
		default:
			return 0, false
		}
		pseudo[f.Name] = f.Value
	}
	method, hasMethod := pseudo[":method"]
	_, hasScheme := pseudo[":scheme"]
	path, hasPath := pseudo[":path"]
	authority, hasAuthority := pseudo[":authority"]
	if !hasMethod {
		return 0, false
	}
	if method != "CONNECT" {
		if !hasScheme || !hasPath || path == "" || !lengthMatches(k.fields, c.block.end) {
			return 0, false
		}
		return 400, true
	}
	if hasScheme || hasPath || !hasAuthority {
		return 0, false
	}
	if authority == "" || strings.ContainsAny(authority, "@/ \t\r\n") {
		return 400, true
	}
	k.fields[0], k.fields[at] = k.fields[at], k.fields[0]
	return 0, true
}

// lengthMatches refuses a request that announces a body and ends at once.
func lengthMatches(fields []Field, end bool) bool {
	for _, f := range fields {
		if f.Name == "content-length" {
			n, err := strconv.ParseUint(f.Value, 10, 63)
			return err == nil && (!end || n == 0)
		}
	}
	return true
}

// goodField refuses what may not stand in an HTTP/2 header.
func goodField(f Field) bool {
	if f.Name == "" {
		return false
	}
	for i := 0; i < len(f.Name); i++ {
		if b := f.Name[i]; b <= ' ' || b >= 0x7f || 'A' <= b && b <= 'Z' || b == ':' {
			return false
		}
	}
	for i := 0; i < len(f.Value); i++ {
		if b := f.Value[i]; b == 0 || b == '\r' || b == '\n' {
			return false
		}
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return false
	case "te":
		return f.Value == "trailers"
	}
	return true
}

// trailers end a stream. Nothing in them matters to a tunnel.
func (c *Conn) trailers(s *Stream, end bool, fields []Field) error {
	if s.has(gotEnd) {
		return c.kill(s, StreamClosed)
	}
	if !end {
		return c.kill(s, ProtocolError)
	}
	for _, f := range fields {
		if !goodField(f) {
			return c.kill(s, ProtocolError)
		}
	}
	c.ended(s)
	return nil
}

// Respond answers a request: with 200 the stream is open, with end it is over. Informational statuses are
// not for a tunnel.
func (c *Conn) Respond(s *Stream, status int, h []Field, end bool) {
	if s.has(gone | sentHeaders) {
		return
	}
	s.flags |= sentHeaders
	c.appendHeaders(s.ID, append([]Field{{":status", strconv.Itoa(status)}}, h...), end)
	if !end {
		return
	}
	s.flags |= sentEnd
	if c.settle(s); !s.has(gone) {
		c.Reset(s, NoError) // the rest of the request is of no use (RFC 9113, section 8.1)
	}
}
