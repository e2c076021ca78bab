package record

import (
	"errors"
	"fmt"
)

// State is a session on its way to another process. Whoever has it can read and forge what the session
// carries: it belongs neither on disk nor in a log, and may be imported once.
type State struct {
	Suite  uint16
	Client bool // which side we are

	Out []byte // secret of a generation under which nothing has been sealed

	In      []byte // secret of the peer's generation
	Seq     uint64 // of the peer's next record
	Asked   bool   // the peer owes a KeyUpdate
	Useless int    // records without payload since the last with some
	Ticket  int    // bytes of a ticket still to come
}

// Format keeps the secrets out of logs, whatever the verb.
func (State) Format(f fmt.State, _ rune) { fmt.Fprint(f, "record.State(secret)") }

// MarshalJSON refuses, since loggers call it.
func (State) MarshalJSON() ([]byte, error) {
	return nil, errors.New("record: the state of a session is secret")
}

// Export ends s here. It returns what Import needs to go on elsewhere, and dst with a KeyUpdate that must
// reach the peer: after all that was sealed here, ahead of what the importer seals. This process has never
// had the key that the importer seals with, and the importer never gets ours, so no mistake on either side
// can use a number twice. To go on here after all, import the State, if nobody else has. Export fails for a
// session that has ended.
func (s *Session) Export(dst []byte) (*State, []byte, error) {
	if err := errors.Join(s.Out.err, s.In.err); err != nil {
		return nil, dst, fmt.Errorf("export a session: %w", err)
	}
	dst = s.Out.appendUpdate(dst)
	if s.Out.err != nil {
		return nil, dst, s.Out.err
	}
	st := &State{Suite: s.In.suite.id, Client: s.In.client, Out: s.Out.secret, In: s.In.secret, Seq: s.In.seq,
		Asked: s.In.asked, Useless: s.In.useless, Ticket: s.In.ticket}
	s.In.keys, s.Out.keys = keys{}, keys{} // the secrets are st's now
	s.In.err, s.Out.err = ErrClosed, ErrClosed
	return st, dst, nil
}

// Import takes up the session that Export ended, with neither State nor Surplus. It takes st over, and
// empties it.
func Import(st *State) (*Session, error) {
	was := *st
	*st = State{}
	if was.Seq > openLimit || was.Ticket < 0 || was.Ticket > maxTicket || was.Useless < 0 || was.Useless > maxUseless {
		return nil, fmt.Errorf("%w: the state of an exported session makes no sense", ErrTakeover)
	}
	s, err := resume(was.Suite, was.Client, was.Out, was.In)
	if err != nil {
		return nil, err
	}
	s.In.seq, s.In.asked, s.In.useless, s.In.ticket = was.Seq, was.Asked, was.Useless, was.Ticket
	return s, nil
}
