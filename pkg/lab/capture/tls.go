package capture

import "encoding/binary"

// TLS record types (RFC 8446, section 5.1).
const (
	recordFirst     = 20 // change_cipher_spec
	recordHandshake = 22
	recordLast      = 24 // 23 is application_data, 24 heartbeat
	clientHello     = 1
)

// tlsWalk follows one direction of a connection record by record and says whether all of it is TLS.
type tlsWalk struct {
	begun  bool   // the connection's first byte is in the capture
	synced bool   // next is valid
	next   uint32 // sequence number of the byte that follows
	header []byte // bytes of a record's header so far
	left   int    // bytes of the present record still to come
	hellos int    // ClientHellos seen
	bad    bool
}

// feed takes one segment and reports whether everything so far is TLS. Bytes that were seen before
// (retransmissions) are skipped. A connection that was under way when the capture began is judged from the
// first segment on that begins with a record; until then nothing can be said, and it passes.
func (w *tlsWalk) feed(seq uint32, data []byte) bool {
	if w.bad {
		return false
	}
	if w.synced {
		if skip := int32(w.next - seq); skip > 0 {
			if int(skip) >= len(data) {
				return true
			}
			data, seq = data[skip:], w.next
		} else if skip < 0 { // a hole: find the records again in a later connection
			w.synced, w.begun = false, false
		}
	}
	if !w.synced {
		if !w.begun && !aligned(data) {
			return true
		}
		w.synced, w.header, w.left = true, nil, 0
	}
	w.next = seq + uint32(len(data))
	return w.records(data)
}

func (w *tlsWalk) records(data []byte) bool {
	for len(data) > 0 {
		if w.left > 0 {
			n := min(w.left, len(data))
			w.left, data = w.left-n, data[n:]
			continue
		}
		n := min(5-len(w.header), len(data))
		w.header, data = append(w.header, data[:n]...), data[n:]
		if !plausible(w.header) {
			w.bad = true
			return false
		}
		if len(w.header) == 5 {
			w.left = int(binary.BigEndian.Uint16(w.header[3:]))
			if w.header[0] == recordHandshake && len(data) > 0 && data[0] == clientHello {
				w.hellos++
			}
			w.header = nil
		}
	}
	return true
}

// plausible reports whether the bytes can begin a TLS record: type, version 3.x, length up to 2^14+256.
func plausible(h []byte) bool {
	switch {
	case len(h) > 0 && (h[0] < recordFirst || h[0] > recordLast):
		return false
	case len(h) > 1 && h[1] != 3:
		return false
	case len(h) > 4 && binary.BigEndian.Uint16(h[3:]) > 1<<14+256:
		return false
	}
	return true
}

// aligned reports whether a segment begins with a record of application data that ends with the segment or
// is followed by another one: chance does not make such bytes.
func aligned(data []byte) bool {
	if len(data) < 5 || data[0] != 23 || data[1] != 3 || data[2] != 3 || !plausible(data[:5]) {
		return false
	}
	end := 5 + int(binary.BigEndian.Uint16(data[3:]))
	return end == len(data) || end+5 <= len(data) && plausible(data[end:end+5])
}
