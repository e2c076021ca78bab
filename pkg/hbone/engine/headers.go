package engine

import (
	"golang.org/x/net/http2/hpack"
)

// headerBlock is the one that is being received.
type headerBlock struct {
	open   bool // END_HEADERS is still to come
	stream uint32
	end    bool // END_STREAM was on its first frame
	frames int
	bytes  []byte
}

// maxBlockFrames bounds HEADERS and CONTINUATION frames of one block.
const maxBlockFrames = 16

func (c *Conn) onHeaders(f frameHeader, p []byte) error {
	if f.stream == 0 {
		return connErr(ProtocolError, "HEADERS on stream 0")
	}
	p, err := unpad(f, p)
	if err != nil {
		return err
	}
	self := false
	if f.has(flagPriority) {
		if len(p) < 5 {
			return connErr(FrameSizeError, "HEADERS too short for its priority")
		}
		dep := uint32(p[0]&0x7f)<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
		self = dep == f.stream
		p = p[5:]
	}
	if self {
		return connErr(ProtocolError, "stream %d depends on itself", f.stream)
	}
	c.block.stream, c.block.end, c.block.frames = f.stream, f.has(flagEndStream), 1
	if f.has(flagEndHeaders) {
		return c.decode(p)
	}
	c.block.open = true
	c.waiting = c.now
	c.block.bytes = append([]byte(nil), p...)
	return nil
}

func (c *Conn) onContinuation(f frameHeader, p []byte) error {
	if !c.block.open {
		return connErr(ProtocolError, "CONTINUATION without HEADERS")
	}
	c.block.frames++
	if c.block.frames > maxBlockFrames || len(c.block.bytes)+len(p) > c.o.MaxHeaders {
		return &ConnError{Code: EnhanceYourCalm, Flood: floodLimits[floodHeaders].name, Reason: "flood: header block too long"}
	}
	c.block.bytes = append(c.block.bytes, p...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	b := c.block.bytes
	c.block.open, c.block.bytes = false, nil
	return c.decode(b)
}

// fieldSink collects what the decoder emits, within bounds.
type fieldSink struct {
	fields []Field
	size   int
	max    int
	over   bool
}

func (k *fieldSink) add(f hpack.HeaderField) {
	k.size += int(f.Size())
	if k.size > k.max {
		k.over, k.fields = true, nil
	}
	if !k.over {
		k.fields = append(k.fields, Field{f.Name, f.Value})
	}
}

// decode runs a whole header block through HPACK, which must happen whether its stream lives or not.
func (c *Conn) decode(b []byte) error {
	k, err := c.unpack(b)
	if err != nil {
		return connErr(CompressionError, "header block: %v", err)
	}
	if c.o.Client {
		return c.onResponse(k)
	}
	return c.onRequest(k)
}

func (c *Conn) unpack(b []byte) (fieldSink, error) {
	if c.decoder == nil {
		// A peer may use a table of the default size until it has seen our SETTINGS.
		c.decoder = hpack.NewDecoder(4096, c.decoding.add)
		c.decoder.SetMaxStringLength(c.o.MaxHeaders)
		if c.settingsAt.IsZero() {
			c.decoder0()
		}
	}
	if !c.settingsAt.IsZero() {
		c.early.add(b)
	}
	c.decoding = fieldSink{max: c.o.MaxHeaders}
	_, err := c.decoder.Write(b)
	if err == nil {
		err = c.decoder.Close()
	}
	k := c.decoding
	c.decoding = fieldSink{}
	return k, err
}

// decoder0 takes the decoder's table away, once the peer knows that it has none.
func (c *Conn) decoder0() {
	if c.decoder != nil {
		c.decoder.SetMaxDynamicTableSize(0)
		c.decoder.SetAllowedMaxDynamicTableSize(0)
	}
}

// appendBlock encodes fields as literals that no table remembers, so that the encoder has no state.
func (c *Conn) appendBlock(b []byte, fields []Field) []byte {
	if c.sizeUpdate {
		b = append(b, 0x20) // dynamic table size update to 0
		c.sizeUpdate = false
	}
	for _, f := range fields {
		switch f {
		case Field{":status", "200"}:
			b = append(b, 0x88) // static table, entry 8
			continue
		}
		switch f.Name {
		case ":authority":
			b = append(b, 0x01) // literal without indexing, name of static entry 1
		case ":method":
			b = append(b, 0x02)
		case ":status":
			b = append(b, 0x08)
		default:
			b = appendString(append(b, 0x00), f.Name)
		}
		b = appendString(b, f.Value)
	}
	return b
}

// appendString appends an HPACK string literal, in the shorter of its two forms.
func appendString(b []byte, s string) []byte {
	if n := hpack.HuffmanEncodeLength(s); n < uint64(len(s)) {
		return hpack.AppendHuffmanString(appendInt7(b, 0x80, n), s)
	}
	return append(appendInt7(b, 0, uint64(len(s))), s...)
}

func appendInt7(b []byte, first byte, n uint64) []byte {
	if n < 127 {
		return append(b, first|byte(n))
	}
	b = append(b, first|127)
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// appendHeaders writes a header block as HEADERS and, where the peer's frames are too short for it, CONTINUATION.
func (c *Conn) appendHeaders(id uint32, fields []Field, end bool) {
	at := len(c.out)
	c.out = c.appendBlock(append(c.out, make([]byte, HeaderLen)...), fields)
	n := len(c.out) - at - HeaderLen
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	if n <= c.peerFrame {
		appendHeader(c.out[at:at], n, frameHeaders, flags|flagEndHeaders, id)
		return
	}
	block := append([]byte(nil), c.out[at+HeaderLen:]...)
	c.out = c.out[:at]
	typ := byte(frameHeaders)
	for len(block) > 0 {
		part := block[:min(len(block), c.peerFrame)]
		block = block[len(part):]
		if len(block) == 0 {
			flags |= flagEndHeaders
		}
		c.out = append(appendHeader(c.out, len(part), typ, flags, id), part...)
		typ, flags = frameContinuation, 0
	}
}
