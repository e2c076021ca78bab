// Package engine is HTTP/2 (RFC 9113) as far as HBONE needs it: CONNECT streams on one connection, both
// roles, as a state machine that never waits and does no I/O.
//
// A driver owns the socket. It gives received bytes to Conn.Receive and handles the events that come
// back; it calls Open, Respond, AppendData, CloseSend, Reset and Consumed for what its streams do; after
// each of these it takes the frames that Conn.Take hands out and writes them. Conn.Tick watches the clock
// that the driver passes in: keepalive, stalled peers, idle connections. A Conn is not safe for concurrent
// use; the driver locks.
//
// Payload is never copied here: data events point into the bytes given to Receive, and AppendData writes
// only a frame's header, in front of payload that the driver has read or will read to its place.
//
// Conn.Export describes a connection as plain data, wherever it stands, and Import goes on with it: in another
// process, by another clock.
//
// Guarantees, whatever the peer sends: no panic; memory bounded by Options (received payload that the
// driver has not consumed is at most a window for each stream, Budget and a window for all); what costs us
// without moving bytes is counted and ends the connection with ENHANCE_YOUR_CALM; a stream ends with an
// End event only if its peer sent END_STREAM, otherwise with a Reset event.
package engine
