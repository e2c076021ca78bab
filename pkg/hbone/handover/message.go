package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// protocol is the version of the messages.
const protocol = 1

// Messages: a byte that says which, four of length, a body.
const (
	msgHello   = 'h' // protocol, version of the state
	msgWelcome = 'w' // how many descriptors to expect; behind it the token
	msgRefuse  = 'x' // why
	msgState   = 's' // the state
	msgCount   = 'c' // of descriptors; behind it they follow
	msgBatch   = 'b' // a batch has arrived
	msgReady   = 'r'
	msgGo      = 'g'
	msgRunning = 'n'
)

const (
	mostState  = 1 << 30
	mostShort  = 4 << 10 // of every other message
	mostFDs    = 1 << 20
	batchOfFDs = 200 // the kernel takes 253
)

// line is the socket, with a deadline for each step.
type line struct {
	*net.UnixConn
	timeout time.Duration
}

// begin starts the clock of a step.
func (l *line) begin() { _ = l.SetDeadline(time.Now().Add(l.timeout)) }

func (l *line) send(kind byte, body []byte) error {
	l.begin()
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)))
	if len(body) <= mostShort {
		_, err := l.Write(append(head, body...))
		return err
	}
	if _, err := l.Write(head); err != nil {
		return err
	}
	_, err := l.Write(body)
	return err
}

func (l *line) sendNumber(kind byte, n int) error {
	return l.send(kind, binary.BigEndian.AppendUint32(nil, uint32(n)))
}

// receive waits for a message of a kind.
func (l *line) receive(kind byte) ([]byte, error) {
	l.begin()
	var head [5]byte
	if _, err := io.ReadFull(l, head[:]); err != nil {
		return nil, err
	}
	n, most := int(binary.BigEndian.Uint32(head[1:])), mostShort
	if kind == msgState {
		most = mostState
	}
	if n > most {
		return nil, fmt.Errorf("hand-over: message %q of %d bytes", head[0], n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(l, body); err != nil {
		return nil, err
	}
	switch head[0] {
	case kind:
		return body, nil
	case msgRefuse:
		return nil, refused("the other side says: %s", body)
	}
	return nil, fmt.Errorf("hand-over: message %q where %q belongs", head[0], kind)
}

func (l *line) receiveNumber(kind byte, most int) (int, error) {
	b, err := l.receive(kind)
	if err != nil {
		return 0, err
	}
	if len(b) != 4 || binary.BigEndian.Uint32(b) > uint32(most) {
		return 0, fmt.Errorf("hand-over: message %q says %x", kind, b)
	}
	return int(binary.BigEndian.Uint32(b)), nil
}

// refuse tells the other side why, and reads what it still says: a socket closed before that would show it an
// error instead of the reason. That it does not listen any more changes nothing.
func (l *line) refuse(err error) {
	why := err.Error()
	if l.send(msgRefuse, []byte(why[:min(len(why), mostShort)])) == nil && l.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(l, mostShort))
	}
}

// sendFDs sends descriptors, no more at once than a batch: what is under way counts against a limit of the user.
func (l *line) sendFDs(fds []int) error {
	for len(fds) > 0 {
		l.begin()
		batch := fds[:min(len(fds), batchOfFDs)]
		fds = fds[len(batch):]
		if _, _, err := l.WriteMsgUnix([]byte{0}, unix.UnixRights(batch...), nil); err != nil {
			return err
		}
		if _, err := l.receive(msgBatch); err != nil {
			return err
		}
	}
	return nil
}

// receiveFDs receives n descriptors, or none. They are closed on exec.
func (l *line) receiveFDs(n int) (fds []int, err error) {
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	oob := make([]byte, unix.CmsgSpace(batchOfFDs*4))
	for len(fds) < n {
		l.begin()
		var b [1]byte
		_, oobn, flags, _, err := l.ReadMsgUnix(b[:], oob)
		if err != nil {
			return fds, err
		}
		got, err := rights(oob[:oobn])
		fds = append(fds, got...)
		switch {
		case err != nil:
			return fds, err
		case flags&unix.MSG_CTRUNC != 0 || len(got) != min(batchOfFDs, n-len(fds)+len(got)):
			return fds, errors.New("hand-over: descriptors were lost on the way: is the limit of open files too low?")
		}
		if err := l.send(msgBatch, nil); err != nil {
			return fds, err
		}
	}
	return fds, nil
}

func rights(oob []byte) (fds []int, err error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		fds = append(fds, got...)
		if err != nil {
			return fds, os.NewSyscallError("recvmsg", err)
		}
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
