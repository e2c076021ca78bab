package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// ErrNotSigned is wrapped by errors about a token that no key of a set has signed.
var ErrNotSigned = errors.New("its signature does not hold")

// taken are the algorithms that Envoy verifies with public keys.
var taken = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Verify says whether one of the keys of a set, as Parse writes it, has signed a token (a JWS in three parts). Like
// Envoy it tries the keys of the token's kid, and those without one. What the token says is not looked at.
func Verify(set, token string) error {
	t, err := jose.ParseSignedCompact(token, taken)
	if err != nil {
		return fmt.Errorf("%w: it is not signed by any of %s", ErrNotSigned, list(taken))
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(set), &keys); err != nil {
		return fmt.Errorf("read the keys: %w", err)
	}
	head := t.Signatures[0].Header
	var ids []string
	tried := 0
	for _, k := range keys.Keys {
		ids = append(ids, k.KeyID)
		if head.KeyID != "" && k.KeyID != "" && k.KeyID != head.KeyID || k.Algorithm != "" && k.Algorithm != head.Algorithm {
			continue
		}
		if _, err := t.Verify(k.Key); err == nil {
			return nil
		}
		tried++
	}
	if tried == 0 {
		return fmt.Errorf("%w: it asks for key %q of %s, and there are %s", ErrNotSigned, head.KeyID, head.Algorithm, list(ids))
	}
	return fmt.Errorf("%w: it was not made with the issuer's key, or the token was changed", ErrNotSigned)
}

func list[T ~string](in []T) string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
		if s == "" {
			out[i] = "one without an id"
		}
	}
	return strings.Join(out, ", ")
}
