package record

import (
	"crypto/tls"
	"errors"
)

// Out is the direction that we seal.
type Out struct {
	keys
	rekeyAfter uint64
	answer     bool // the peer has asked for a KeyUpdate
	ask        bool // the peer should be asked for one
	err        error
}

// Seal makes a record of the n bytes of payload that lie in rec[HeaderLen:], in place, and returns its length,
// n+Overhead. rec must have room for it. It must reach the peer, after those sealed before it. Seal fails
// with ErrSlot, ErrClosed or ErrKeySpent. It allocates nothing.
func (o *Out) Seal(rec []byte, n int) (int, error) {
	switch {
	case n < 1 || n > MaxPayload || len(rec) < n+Overhead:
		return 0, ErrSlot
	case o.err != nil:
		return 0, o.err
	case o.seq >= sealLimit:
		return 0, ErrKeySpent
	}
	return o.seal(rec, n, typeData), nil
}

func (o *Out) seal(rec []byte, n int, typ byte) int {
	body := n + Overhead - HeaderLen
	rec[0], rec[1], rec[2], rec[3], rec[4] = typeData, 3, 3, byte(body>>8), byte(body)
	rec[HeaderLen+n] = typ
	witness(&o.keys)
	o.aead.Seal(rec[HeaderLen:HeaderLen], o.take(), rec[HeaderLen:HeaderLen+n+1], rec[:HeaderLen])
	return n + Overhead
}

// Due reports whether AppendDue has something to say.
func (o *Out) Due() bool {
	return o.err == nil && (o.answer || o.ask || o.seq >= o.rekeyAfter)
}

// AppendDue appends the KeyUpdate that is due, if one is: because our key has protected enough records,
// because the peer has asked for it, or to ask the peer. It must be sent in the order in which it was
// appended, as a record is.
func (o *Out) AppendDue(dst []byte) []byte {
	if !o.Due() {
		return dst
	}
	return o.appendUpdate(dst)
}

func (o *Out) appendUpdate(dst []byte) []byte {
	asks := byte(0)
	if o.ask {
		asks = 1
	}
	dst = o.appendControl(dst, typeHandshake, msgKeyUpdate, 0, 0, 1, asks)
	o.answer, o.ask = false, false
	o.err = o.update()
	return dst
}

// AppendEnd appends the alert that ends the session: close_notify for an orderly end, which nil and errors
// are that have nothing to do with TLS; the fatal alert of an *Error; none where the peer has sent one or ours
// has been sealed. Nothing can be sealed behind it.
func (o *Out) AppendEnd(dst []byte, err error) []byte {
	if o.err != nil {
		return dst
	}
	if !isRemote(err) {
		alert, level := closeNotify, byte(1)
		var e *Error
		if errors.As(err, &e) {
			alert, level = e.Alert, 2
		}
		dst = o.appendAlert(dst, level, alert)
	}
	o.err = ErrClosed
	o.drop()
	return dst
}

func (o *Out) appendAlert(dst []byte, level byte, a tls.AlertError) []byte {
	return o.appendControl(dst, typeAlert, level, byte(a))
}

// appendControl is free of sealLimit: after a KeyUpdate the key is another, after an alert there is none.
func (o *Out) appendControl(dst []byte, typ byte, msg ...byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, len(msg)+Overhead)...)
	copy(dst[at+HeaderLen:], msg)
	o.seal(dst[at:], len(msg), typ)
	return dst
}
