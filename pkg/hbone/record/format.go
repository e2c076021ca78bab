package record

// What a record looks like: a header of type, version and length, the payload, its type, the tag.
const (
	// HeaderLen is the length of a record's header in bytes.
	HeaderLen = 5
	// MaxPayload is the most bytes that a record carries.
	MaxPayload = 1 << 14
	// Overhead is by how many bytes a record is longer than its payload: header, type and tag.
	Overhead = HeaderLen + 1 + tagLen
	// MaxRecord is the length in bytes of the longest record that a peer may send, which may be padded.
	MaxRecord = HeaderLen + MaxPayload + 256

	tagLen = 16
)

// Content types (RFC 8446, B.1).
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// Handshake messages (RFC 8446, B.3).
const (
	msgNewSessionTicket = 4
	msgKeyUpdate        = 24
)

const (
	// rekeyAfter is how many records a key protects before it is renewed.
	rekeyAfter = 1 << 23
	// sealLimit and openLimit are the most that a key is ever used for; RFC 8446, 5.5 allows 2^24.5 for AES-GCM.
	sealLimit = 1 << 24
	openLimit = 23726566
	// maxUseless records in a row may bring no payload, as in crypto/tls.
	maxUseless = 16
)

// bodyLen is the length that a header announces.
func bodyLen(header []byte) int { return int(header[3])<<8 | int(header[4]) }

// recordLen is the length of the record at the front of buf, 0 where that is not all there. It is strict:
// behind the handshake a record has one form.
func recordLen(buf []byte) (int, error) {
	if len(buf) < HeaderLen {
		return 0, nil
	}
	n := bodyLen(buf)
	switch {
	case buf[0] != typeData:
		return 0, broken(unexpectedMessage, "a record in clear text behind the handshake")
	case buf[1] != 3 || buf[2] != 3:
		return 0, broken(protocolVersion, "a record of another version of TLS")
	case n > MaxPayload+256:
		return 0, broken(recordOverflow, "a record is too long")
	case n < 1+tagLen:
		return 0, broken(badRecordMAC, "a record is too short for its tag and type")
	case len(buf) < HeaderLen+n:
		return 0, nil
	}
	return HeaderLen + n, nil
}
