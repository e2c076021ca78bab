package record

import "bytes"

// writer makes a stream of records from a program: an operation a byte, and its arguments behind it. Where
// we and crypto/tls differ on purpose, it says so.
type writer struct {
	peer    *Session
	program []byte
	stream  []byte
	last    int // where the last record begins

	// stricter: it has written what we refuse and crypto/tls may take. change_cipher_spec, since the handshake
	// is over; a handshake message other than a ticket in pieces; a record with neither type nor content.
	stricter bool
	// looser: a ticket whose contents may be bad. We do not look.
	looser bool
}

// seeds are a program for each operation, and some that mix them.
var seeds = []string{
	"", "d\x05", "d\x05d\xffd\x01", "l", "p\x01\x01", "p\x00\xff", "P\x01", "P\x00", "z", "u\x00d\x01", "u\x01d\x01", "u\x02d\x01", "k\x00d\x01",
	"2d\x01", "s\x01d\x01", "t\x01d\x01", "t\x04d\x01", "T\x03d\x01", "h\x05\x0d\x00\x00\x01\x00d\x01", "a\x01\x00d\x01", "a\x02\x28", "a\x01\x5ad\x01", "A\x03",
	"r\x06\x17\x03\x03\x00\x01\x00", "r\x06\x14\x03\x03\x00\x01\x01d\x01", "r\x05\x17\x03\x03\x41\x01", "r\x02\x17\x03", "y\x20\x03d\x01", "y\x16\x01\x04", "y\x14\x01\x01d\x01", "nd\x01",
	"d\x05f\x00\x01", "d\x05f\x06\x01d\x01", "d\x05x", "d\x05R", "d\x05c\x04d\x05", "d\x05c\x04", "e", "e e ed\x01",
	"u\x01u\x01u\x00d\x05u\x01d\x05t\x02d\x05a\x01\x5ad\x03a\x01\x00d\x01",
	"eeeeeeeeeeeeeeeed\x01eeeeeeeeeeeeeeeee", "u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00u\x00d\x01",
	"t\x01t\x04t\x04t\x04t\x03d\x01", "t\x04t\x04t\x04t\x04t\x01d\x01",
}

func (w *writer) arg() int {
	if len(w.program) == 0 {
		return 0
	}
	b := w.program[0]
	w.program = w.program[1:]
	return int(b)
}

func (w *writer) args(n int) []byte {
	n = min(n, len(w.program))
	b := w.program[:n]
	w.program = w.program[n:]
	return b
}

func (w *writer) put(rec []byte) {
	w.last = len(w.stream)
	w.stream = append(w.stream, rec...)
}

func (w *writer) seal(typ byte, msg ...byte) { w.put(control(w.peer, typ, msg...)) }

func (w *writer) run() []byte {
	for len(w.program) > 0 {
		switch op := w.arg(); op {
		case 'd': // data
			w.seal(typeData, bytes.Repeat([]byte{'d'}, 1+w.arg())...)
		case 'l': // as much as a record holds
			w.seal(typeData, make([]byte, MaxPayload)...)
		case 'e': // nothing
			w.seal(typeData)
		case 'p': // padding
			w.put(padded(w.peer.Out, typeData, make([]byte, w.arg()), w.arg()))
		case 'P': // as much as, or more than a record holds
			w.put(padded(w.peer.Out, typeData, make([]byte, MaxPayload-1), w.arg()))
		case 'z': // no type, no content
			w.put(padded(w.peer.Out, 0, nil, w.arg()))
		case 'y': // any type
			typ := byte(w.arg())
			w.seal(typ, w.args(w.arg())...)
			w.stricter = w.stricter || typ == typeHandshake || typ == 20
			w.looser = w.looser || typ == typeHandshake
		case 'n': // neither type nor content
			rec := []byte{typeData, 3, 3, 0, tagLen}
			w.put(w.peer.Out.aead.Seal(rec, w.peer.Out.take(), nil, rec))
			w.stricter = true
		case 'a': // alert
			w.seal(typeAlert, byte(w.arg()), byte(w.arg()))
		case 'A': // of wrong length
			w.seal(typeAlert, make([]byte, w.arg())...)
		default:
			w.handshake(op)
		}
	}
	return w.stream
}

func (w *writer) handshake(op int) {
	ticket := func(n int) []byte { // in good form: lifetime, age, nonce, ticket, extensions
		t := []byte{msgNewSessionTicket, 0, byte((14 + n) >> 8), byte(14 + n), 0, 0, 0, 9, 1, 2, 3, 4, 1, 0, byte(n >> 8), byte(n)}
		return append(append(t, make([]byte, n)...), 0, 0)
	}
	switch op {
	case 'u', 'k': // KeyUpdate; k: and the old key goes on
		asks := byte(w.arg())
		w.seal(typeHandshake, msgKeyUpdate, 0, 0, 1, asks)
		if op == 'u' && asks <= 1 {
			_ = w.peer.Out.update()
		}
	case '2': // two in a record
		w.seal(typeHandshake, msgKeyUpdate, 0, 0, 1, 0, msgKeyUpdate, 0, 0, 1, 0)
	case 's': // in two records
		n := 1 + w.arg()%4
		msg := []byte{msgKeyUpdate, 0, 0, 1, 0}
		w.seal(typeHandshake, msg[:n]...)
		w.seal(typeHandshake, msg[n:]...)
		_ = w.peer.Out.update()
		w.stricter = true
	case 't': // tickets in a record
		w.seal(typeHandshake, bytes.Repeat(ticket(1+w.arg()), 1+w.arg()%5)...)
	case 'T': // one in two records, which counts twice with us
		msg := ticket(300)
		n := 4 + w.arg()
		w.seal(typeHandshake, msg[:n]...)
		w.seal(typeHandshake, msg[n:]...)
		w.stricter = true
	case 'h': // any message
		w.seal(typeHandshake, w.args(w.arg())...)
		w.stricter, w.looser = true, true
	default:
		w.clear(op)
	}
}

// clear writes or spoils what is not sealed.
func (w *writer) clear(op int) {
	switch op {
	case 'r': // anything
		w.put(w.args(w.arg()))
	case 'f': // another byte in the last record
		if rec := w.stream[w.last:]; len(rec) > 0 {
			rec[w.arg()%len(rec)] ^= byte(w.arg())
		}
	case 'x': // the last record again
		w.put(bytes.Clone(w.stream[w.last:]))
	case 'R': // a record less
		w.stream = w.stream[:w.last]
	case 'c': // less of the last record
		w.stream = w.stream[:max(w.last, len(w.stream)-w.arg())]
	}
	if rec := w.stream[w.last:]; len(rec) > 0 && rec[0] == 20 {
		w.stricter = true
	}
}
