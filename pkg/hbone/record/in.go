package record

import (
	"crypto/tls"
	"fmt"
	"io"
)

// In is the direction that we open.
type In struct {
	keys
	out        *Out
	client     bool // we are
	rekeyAfter uint64
	asked      bool // for a KeyUpdate
	useless    int  // records and messages without payload since the last with some
	ticket     int  // bytes of a ticket that go on in the next record
	err        error
}

// Open opens the record at the front of buf, in place, and returns its payload, which points into buf, and its
// length. n is 0 where buf does not hold a whole record, of at most MaxRecord bytes. A record without payload
// has been dealt with; Out.AppendDue may have an answer. err is io.EOF once the peer has said that it is
// done; any other error is the end of the session, for which AppendEnd has the alert. Errors stay.
// Open allocates nothing but at a KeyUpdate.
func (i *In) Open(buf []byte) (payload []byte, n int, err error) {
	if i.err != nil {
		return nil, 0, i.err
	}
	n, err = recordLen(buf)
	if n > 0 {
		payload, err = i.open(buf[:n])
	}
	if err != nil {
		i.err = err
		i.drop()
		return nil, 0, err
	}
	return payload, n, nil
}

// Truncated tells what the end of the socket means: nil if the peer had said that it was done, otherwise an
// error that wraps io.ErrUnexpectedEOF, since somebody may have cut the rest off.
func (i *In) Truncated() error {
	if i.err == io.EOF { //nolint:errorlint // it is set here, and unwrapped
		return nil
	}
	return fmt.Errorf("%w: the peer hung up without close_notify", io.ErrUnexpectedEOF)
}

func (i *In) open(rec []byte) ([]byte, error) {
	if i.seq >= openLimit {
		return nil, broken(internalError, "the peer does not renew its key, though it was asked to")
	}
	body := rec[HeaderLen:]
	inner, err := i.aead.Open(body[:0], i.take(), body, rec[:HeaderLen])
	if err != nil {
		return nil, broken(badRecordMAC, "a record is forged, damaged or out of order")
	}
	if len(inner) > MaxPayload+1 {
		return nil, broken(recordOverflow, "a record's content is too long")
	}
	if i.seq >= i.rekeyAfter && !i.asked {
		i.asked, i.out.ask = true, true
	}
	end := len(inner) - 1
	for end >= 0 && inner[end] == 0 {
		end--
	}
	if end < 0 {
		return nil, broken(unexpectedMessage, "a record has no type")
	}
	return i.content(inner[end], inner[:end])
}

// content deals with what is no payload.
func (i *In) content(typ byte, p []byte) ([]byte, error) {
	if i.ticket > 0 && typ != typeHandshake {
		return nil, broken(unexpectedMessage, "a handshake message was interrupted")
	}
	switch typ {
	case typeData:
		if len(p) == 0 {
			return nil, i.idle()
		}
		i.useless = 0
		return p, nil
	case typeAlert:
		return nil, i.alert(p)
	case typeHandshake:
		return nil, i.handshake(p)
	}
	return nil, broken(unexpectedMessage, "a record of unknown type")
}

// idle counts what brings no payload.
func (i *In) idle() error {
	if i.useless++; i.useless > maxUseless {
		return broken(unexpectedMessage, "a flood of records without payload")
	}
	return nil
}

// alert deals with one. Their level has no meaning in TLS 1.3.
func (i *In) alert(p []byte) error {
	if len(p) != 2 {
		return broken(decodeError, "an alert is not of two bytes")
	}
	switch a := tls.AlertError(p[1]); a {
	case closeNotify:
		return io.EOF
	case userCanceled: // says nothing, a close_notify should follow
		return i.idle()
	default:
		return remoteAlert(a)
	}
}
