package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
)

// Bodies repeat a pattern of period bytes (odd, so that it falls on no boundary of frames or buffers); what
// arrives is compared with it: bytes that are lost, doubled or out of order are an error.
const (
	period = 64<<10 - 1
	chunk  = 256 << 10
)

var filler = func() []byte {
	b := make([]byte, period+chunk)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b[:period] {
		b[i] = byte(rnd.Uint32())
	}
	for n := period; n < len(b); n += copy(b[n:], b[:period]) {
	}
	return b
}()

// pattern is n bytes (at most chunk) of a body from an offset on.
func pattern(at, n int64) []byte {
	at %= period
	return filler[at : at+n]
}

// fill writes n bytes of a body from an offset on.
func fill(w io.Writer, at, n int64) error {
	for n > 0 {
		k, err := w.Write(pattern(at, min(n, chunk)))
		if err != nil {
			return err
		}
		at, n = at+int64(k), n-int64(k)
	}
	return nil
}

// verify reads a body of n bytes, what is buffered first, and compares it.
func verify(c io.Reader, r *bufio.Reader, n int64) error {
	buf := make([]byte, min(n, chunk))
	for at := int64(0); at < n; {
		from := c
		if r.Buffered() > 0 {
			from = r
		}
		k, err := from.Read(buf[:min(n-at, chunk)])
		if err != nil {
			return err
		}
		if !bytes.Equal(buf[:k], pattern(at, int64(k))) {
			return fmt.Errorf("the body differs from what was sent, between bytes %d and %d", at, at+int64(k))
		}
		at += int64(k)
	}
	return nil
}
