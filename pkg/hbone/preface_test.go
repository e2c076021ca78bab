package hbone

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
	"time"
)

// raw is a TLS connection to w's server that speaks HTTP/2 by hand, or not at all.
func (w *world) raw() *tls.Conn {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.addr.String(), w.ca.clientTLS(w.ca.leaf(w.t, clientID, time.Now().Add(time.Hour))))
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestNoHTTP2IsToldAndClosed(t *testing.T) {
	w := newWorld(t, setup{})
	c := w.raw()
	io.WriteString(c, "INVALID CONNECTION PREFACE\r\n\r\n")
	got, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(got), "no HTTP/2 preface") {
		t.Errorf("%q, %v", got, err)
	}
}
