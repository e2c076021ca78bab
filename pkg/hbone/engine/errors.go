package engine

import (
	"errors"
	"fmt"
)

// Code is an HTTP/2 error code (RFC 9113, section 7).
type Code uint32

// The codes in use.
const (
	NoError            Code = 0x0
	ProtocolError      Code = 0x1
	InternalError      Code = 0x2
	FlowControlError   Code = 0x3
	SettingsTimeout    Code = 0x4
	StreamClosed       Code = 0x5
	FrameSizeError     Code = 0x6
	RefusedStream      Code = 0x7
	Cancel             Code = 0x8
	CompressionError   Code = 0x9
	ConnectError       Code = 0xa
	EnhanceYourCalm    Code = 0xb
	InadequateSecurity Code = 0xc
	HTTP11Required     Code = 0xd
)

var codeNames = [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR",
	"ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code %#x", uint32(c))
}

// ConnError ends a connection. When Receive or Tick returns one, the GOAWAY that says so is in what Take
// hands out: write it, then close.
type ConnError struct {
	Code   Code
	Reason string
	// Flood names the bucket that overflowed, if that was the cause.
	Flood string
}

func (e *ConnError) Error() string {
	return fmt.Sprintf("HTTP/2 connection error %v: %s", e.Code, e.Reason)
}

// Why Open refused.
var (
	ErrNoSlot = errors.New("the connection carries as many streams as it may")
	ErrGone   = errors.New("the connection takes no more streams")
	// ErrIdle ends a connection that carried no stream for long.
	ErrIdle = errors.New("idle connection released")
)

func connErr(code Code, format string, args ...any) error {
	return &ConnError{Code: code, Reason: fmt.Sprintf(format, args...)}
}
