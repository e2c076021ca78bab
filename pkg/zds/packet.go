package zds

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

const (
	packetRoom = 16 << 10 // longest message; real ones are a few hundred bytes
	mostFDs    = 4        // descriptors taken from one packet; one is expected, the rest are closed
)

// errTruncated marks a packet that arrived incomplete.
var errTruncated = errors.New("message is longer than this version accepts")

// packets reads and writes messages on one connection. Reading and writing may go on at once, each by one
// goroutine.
type packets struct {
	c   *net.UnixConn
	buf [packetRoom]byte
	oob [64]byte // room for mostFDs descriptors
}

// read fills m with the next message. The files that came with it are the caller's. A packet of no bytes
// cannot be told from the end of the connection; no message that either end sends has none, save an Ack
// that is not wrapped.
func (p *packets) read(m proto.Message) (files []*os.File, lost bool, err error) {
	n, oobn, flags, _, err := p.c.ReadMsgUnix(p.buf[:], p.oob[:])
	if err != nil {
		return nil, false, err
	}
	files = takeFiles(p.oob[:oobn])
	lost = flags&unix.MSG_CTRUNC != 0
	switch {
	case n == 0 && oobn == 0:
		err = io.EOF
	case flags&unix.MSG_TRUNC != 0:
		err = errTruncated
	default:
		if err = proto.Unmarshal(p.buf[:n], m); err != nil {
			err = fmt.Errorf("%T cannot be read: %w", m, err)
		}
	}
	if err != nil {
		closeAll(files)
		return nil, lost, err
	}
	return files, lost, nil
}

func takeFiles(oob []byte) (files []*os.File) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "netns"))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// write sends m, with the descriptor of f if that is not nil.
func (p *packets) write(m proto.Message, f *os.File) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	if f == nil {
		_, _, err = p.c.WriteMsgUnix(b, nil, nil)
		return err
	}
	// Control holds the file open meanwhile: its number cannot come to mean another file.
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	var sent error
	if err := raw.Control(func(fd uintptr) { _, _, sent = p.c.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) }); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return sent
}
