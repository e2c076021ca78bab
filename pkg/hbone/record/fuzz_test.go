package record

import (
	"bytes"
	"testing"
)

// FuzzOpen feeds bytes that no key has sealed: nothing opens, nothing panics, and the answer depends neither
// on how the bytes are cut nor on what a later record says.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{23, 3, 3, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, uint8(5))
	f.Add([]byte{20, 3, 3, 0, 1, 1}, uint8(1))
	f.Add([]byte{21, 3, 3, 0, 2, 1, 0}, uint8(6))
	f.Add([]byte{23, 3, 3, 65, 1}, uint8(4))
	f.Add([]byte{23, 3, 1, 0, 32}, uint8(2))
	f.Add([]byte{23}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		client, server := joined(t)
		whole := bytes.Clone(b)
		p, n, err := client.In.Open(whole)
		if n > 0 || len(p) > 0 {
			t.Fatalf("forged: %q", p)
		}
		at := min(int(cut), len(b))
		_, n, first := server.In.Open(bytes.Clone(b[:at]))
		if n > 0 || first != nil && (err == nil || first.Error() != err.Error()) {
			t.Fatalf("%d bytes: %d %v, all: %v", at, n, first, err)
		}
		if first == nil {
			if _, _, second := server.In.Open(bytes.Clone(b)); (second == nil) != (err == nil) {
				t.Fatalf("in two steps %v, in one %v", second, err)
			}
		}
		if err == nil && client.In.seq != 0 {
			t.Fatal("a number was used for a record that is not whole")
		}
	})
}

// FuzzForge changes one byte of a sealed record: it opens as it was, or not at all.
func FuzzForge(f *testing.F) {
	f.Add([]byte("payload"), uint16(0), byte(1))
	f.Add([]byte("payload"), uint16(5), byte(0))
	f.Add(make([]byte, 100), uint16(121), byte(128))
	f.Fuzz(func(t *testing.T, p []byte, at uint16, flip byte) {
		if len(p) == 0 || len(p) > MaxPayload {
			return
		}
		for _, s := range suites {
			client, server := joinedBy(t, s.id)
			rec := append(make([]byte, HeaderLen), p...)
			rec = append(rec, make([]byte, Overhead-HeaderLen)...)
			n, err := client.Out.Seal(rec, len(p))
			must(t, err)
			rec[int(at)%n] ^= flip
			got, m, err := server.In.Open(rec)
			if flip == 0 && (err != nil || m != n || !bytes.Equal(got, p)) {
				t.Fatalf("own record: %q %d %v", got, m, err)
			}
			if flip != 0 && (m > 0 || len(got) > 0) { // n may be 0 without an error: a longer record is announced
				t.Fatalf("forged: %q", got)
			}
		}
	})
}
