package engine

// Kind of an event.
type Kind uint8

// What Receive reports.
const (
	// Request: a server's peer asks for a CONNECT. Header holds :authority first, then the regular fields. Answer with Respond.
	Request Kind = iota + 1
	// Response: a client's stream was answered; Status and Header.
	Response
	// Data arrived: hand it on and call Consumed. It points into the bytes given to Receive.
	Data
	// End: the peer will send no more on this stream.
	End
	// Reset: the stream is gone, both ways. Code says why; Local if the engine itself ended it.
	Reset
	// Window: Stream may be able to send again; with Stream nil, every stream may.
	Window
	// Settled: the peer's first SETTINGS arrived, so it accepted the connection.
	Settled
	// GoAway: the peer takes no more streams. Those it will not handle are reset by RefusedStream events.
	GoAway
)

var kindNames = [...]string{"", "request", "response", "data", "end", "reset", "window", "settled", "goaway"}

func (k Kind) String() string { return kindNames[k] }

// Event is something that the driver has to know.
type Event struct {
	Kind   Kind
	Local  bool
	Status int
	Code   Code
	Stream *Stream
	Data   []byte
	Header []Field
}

// Field is a header field; its name is in lower case.
type Field struct{ Name, Value string }
