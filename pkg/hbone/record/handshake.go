package record

// handshake deals with messages behind the handshake (RFC 8446, 4.6): a KeyUpdate alone in its record, or
// tickets, which may fill a part of one or several. The contents of tickets are not looked at.
func (i *In) handshake(p []byte) error {
	if len(p) == 0 {
		return broken(unexpectedMessage, "an empty handshake record")
	}
	if i.ticket == 0 && p[0] == msgKeyUpdate {
		return i.keyUpdate(p)
	}
	if i.ticket > 0 { // the rest of one, or more of it
		if err := i.idle(); err != nil {
			return err
		}
		p = i.skip(p)
	}
	for len(p) > 0 {
		if err := i.newTicket(p); err != nil {
			return err
		}
		p = i.skip(p)
	}
	return nil
}

// newTicket begins to skip the message that p begins with.
func (i *In) newTicket(p []byte) error {
	switch {
	case p[0] != msgNewSessionTicket:
		return broken(unexpectedMessage, "a handshake message that has no place behind the handshake")
	case !i.client:
		return broken(unexpectedMessage, "a ticket from a client")
	case len(p) < 4:
		return broken(decodeError, "a handshake message is cut within its header")
	}
	if i.ticket = 4 + (int(p[1])<<16 | int(p[2])<<8 | int(p[3])); i.ticket > maxTicket {
		return broken(decodeError, "a ticket is too long")
	}
	return i.idle()
}

// maxTicket is the length of the longest that there can be: ticket, extensions, nonce and their lengths.
const maxTicket = 4 + (4 + 4 + 1 + 255) + (2 + 1<<16 - 1) + (2 + 1<<16 - 2)

func (i *In) skip(p []byte) []byte {
	n := min(i.ticket, len(p))
	i.ticket -= n
	return p[n:]
}

// keyUpdate moves In to the peer's next key and has Out answer, if asked.
func (i *In) keyUpdate(p []byte) error {
	switch {
	case len(p) != 5 || p[1] != 0 || p[2] != 0 || p[3] != 1:
		return broken(unexpectedMessage, "a KeyUpdate is not alone and whole in its record")
	case p[4] > 1:
		return broken(illegalParameter, "a KeyUpdate asks for an unknown thing")
	}
	if err := i.idle(); err != nil {
		return err
	}
	if err := i.update(); err != nil {
		return err
	}
	i.asked, i.out.ask = false, false
	i.out.answer = i.out.answer || p[4] == 1
	return nil
}
