//go:build !race

package record

import "testing"

// batch lays out n records of a payload each, as a driver does.
func batch(n, payload int) []byte { return make([]byte, n*(payload+Overhead)) }

func sealBatch(t testing.TB, o *Out, b []byte, payload int) {
	for at := 0; at < len(b); at += payload + Overhead {
		if _, err := o.Seal(b[at:], payload); err != nil {
			t.Fatal(err)
		}
	}
}

func openBatch(t testing.TB, i *In, b []byte) {
	for len(b) > 0 {
		_, n, err := i.Open(b)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		b = b[n:]
	}
}

func TestNoAllocation(t *testing.T) {
	for _, s := range suites {
		client, server := joinedBy(t, s.id)
		for _, payload := range []int{1, 100, MaxPayload} {
			b := batch(64, payload)
			if n := testing.AllocsPerRun(100, func() {
				b = client.Out.AppendDue(b)
				sealBatch(t, client.Out, b, payload)
				openBatch(t, server.In, b)
				if server.Out.Due() {
					t.Fatal("due")
				}
			}); n != 0 {
				t.Errorf("%d records of %d bytes: %v allocations", 64, payload, n)
			}
		}
	}
}

// BenchmarkSeal seals batches.
func BenchmarkSeal(b *testing.B) { benchmark(b, false) }

// BenchmarkSealOpen seals and opens batches, as two proxies do.
func BenchmarkSealOpen(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, open bool) {
	for _, c := range []struct {
		name             string
		records, payload int
	}{{"64x16KiB", 64, MaxPayload}, {"1x1KiB", 1, 1 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			client, server := joined(b)
			buf := batch(c.records, c.payload)
			b.SetBytes(int64(c.records * c.payload))
			b.ReportAllocs()
			for b.Loop() {
				if update := client.Out.AppendDue(nil); open {
					must(b, receive(server, update))
				}
				sealBatch(b, client.Out, buf, c.payload)
				if open {
					openBatch(b, server.In, buf)
				}
			}
		})
	}
}
