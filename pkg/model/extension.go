package model

import "time"

// Extension is foreign code on a target's requests. Exactly one of the last three is set.
type Extension struct {
	Priority int32 `json:"priority,omitempty"` // lowest first
	FailOpen bool  `json:"failOpen,omitempty"`
	// Invalid says why it cannot be run: without FailOpen its requests are refused.
	Invalid string   `json:"invalid,omitempty"`
	Lua     string   `json:"lua,omitempty"` // source
	ExtProc *ExtProc `json:"extProc,omitempty"`
	Wasm    *Wasm    `json:"wasm,omitempty"`
}

// ExtProc is a service that processes requests.
type ExtProc struct {
	Service  ServicePort       `json:"service"`
	Timeout  time.Duration     `json:"timeout"` // of one message
	Request  ProcessedParts    `json:"request"`
	Response ProcessedParts    `json:"response"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// ProcessedParts are the parts of a message that a processor is shown.
type ProcessedParts struct {
	Headers  bool   `json:"headers,omitempty"`
	Body     string `json:"body,omitempty"` // Streamed, Buffered, BufferedPartial; else none
	Trailers bool   `json:"trailers,omitempty"`
}

// Wasm is a proxy-wasm module.
type Wasm struct {
	Code   []byte `json:"code"`
	Config string `json:"config,omitempty"`
}
