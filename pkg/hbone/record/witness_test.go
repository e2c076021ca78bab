//go:build race

package record

import (
	"bytes"
	"testing"
)

// A second session with a key that has been used is what must never be.
func TestWitnessSeesARepeatedNumber(t *testing.T) {
	secret := bytes.Repeat(newSeed(), 2)
	seal := func() {
		s, err := resume(suites[0].id, true, bytes.Clone(secret), bytes.Clone(secret))
		must(t, err)
		_, err = s.Out.Seal(make([]byte, 1+Overhead), 1)
		must(t, err)
	}
	seal()
	defer func() {
		if recover() == nil {
			t.Error("number 0 was used twice, and nobody noticed")
		}
	}()
	seal()
}
