package record

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
)

// keys protects one direction: a generation of a traffic secret and what follows from it (RFC 8446, 7.3).
type keys struct {
	suite  *suite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte // of the record under way; here, since a local one would be allocated
	seq    uint64   // of the next record
}

// set begins a generation. It takes secret over.
func (k *keys) set(s *suite, secret []byte) error {
	if len(secret) != s.size {
		return fmt.Errorf("%w: a traffic secret of %d bytes, not %d", ErrTakeover, len(secret), s.size)
	}
	key, err := s.expand(secret, "key", s.keyLen)
	if err != nil {
		return err
	}
	defer clear(key)
	iv, err := s.expand(secret, "iv", len(k.iv))
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	*k = keys{suite: s, secret: secret, aead: aead, iv: [12]byte(iv), nonce: [12]byte(iv)}
	return nil
}

// update moves to the next generation (RFC 8446, 7.2).
func (k *keys) update() error {
	s, old := k.suite, k.secret
	next, err := s.expand(old, "traffic upd", s.size)
	if err == nil {
		err = k.set(s, next)
	}
	clear(old)
	return err
}

// drop forgets everything. The AEAD's own memory cannot be wiped in Go.
func (k *keys) drop() {
	clear(k.secret)
	*k = keys{}
}

// take returns the nonce of the next record. The number only grows, so that a key meets each nonce once;
// callers end the generation long before it could wrap.
func (k *keys) take() []byte {
	binary.BigEndian.PutUint64(k.nonce[4:], binary.BigEndian.Uint64(k.iv[4:])^k.seq)
	k.seq++
	return k.nonce[:]
}
