package engine

import "encoding/binary"

// Frame types, flags and settings (RFC 9113, sections 6 and 11).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRST          = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingTableSize  = 0x1
	settingEnablePush = 0x2
	settingMaxStreams = 0x3
	settingWindow     = 0x4
	settingMaxFrame   = 0x5
	settingMaxHeaders = 0x6
)

// HeaderLen is the length of every frame's header, the room to leave in front of payload for AppendData.
const HeaderLen = 9

// Preface is what a client sends first.
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameHeader is a parsed frame header.
type frameHeader struct {
	length int
	typ    byte
	flags  byte
	stream uint32
}

func parseHeader(b *[HeaderLen]byte) frameHeader {
	return frameHeader{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:    b[3],
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxWindow,
	}
}

func (h frameHeader) has(flag byte) bool { return h.flags&flag != 0 }

func appendHeader(b []byte, n int, typ, flags byte, stream uint32) []byte {
	return append(b, byte(n>>16), byte(n>>8), byte(n), typ, flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendUint32Frame(b []byte, typ byte, stream, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHeader(b, 4, typ, 0, stream), v)
}

// unpad strips padding, whose length stands in p's first byte.
func unpad(h frameHeader, p []byte) ([]byte, error) {
	if !h.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, connErr(FrameSizeError, "padded frame without a padding length")
	}
	if int(p[0]) >= len(p) {
		return nil, connErr(ProtocolError, "%d bytes of padding in a frame of %d", p[0], len(p))
	}
	return p[1 : len(p)-int(p[0])], nil
}
