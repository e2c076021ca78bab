package record

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"
)

// suite is what a cipher suite decides.
type suite struct {
	id     uint16
	keyLen int // bytes, of AES
	hash   func() hash.Hash
	size   int // of a hash, and so of a traffic secret
}

var suites = [...]suite{
	{tls.TLS_AES_128_GCM_SHA256, 16, sha256.New, sha256.Size},
	{tls.TLS_AES_256_GCM_SHA384, 32, sha512.New384, sha512.Size384},
}

func suiteOf(id uint16) (*suite, error) {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i], nil
		}
	}
	return nil, fmt.Errorf("%w: cipher suite %s, this record layer has AES-GCM only (does one side's CPU lack AES instructions?)", ErrTakeover, tls.CipherSuiteName(id))
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
func (s *suite) expand(secret []byte, label string, n int) ([]byte, error) {
	const prefix = "tls13 "
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, 0)
	return hkdf.Expand(s.hash, secret, string(info), n)
}
