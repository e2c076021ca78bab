package cli

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

func unsignedJWT(t *testing.T, payload string) *jwt {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString
	out, err := readJWT(text([]byte(`{"alg":"ES256"}`)) + "." + text([]byte(payload)) + ".c2ln")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// In a running mesh a set that was not fetched refuses; with manifests alone nobody knows.
func TestKeysThatAreNotThere(t *testing.T) {
	tok := unsignedJWT(t, `{"iss":"a"}`)
	remote := &model.TokenProvider{Issuer: "a", KeysFrom: "https://a.example/keys"}
	if err := checkJWT(tok, remote, time.Now(), true); !errors.Is(err, errNotKnown) {
		t.Errorf("by manifests: %v", err)
	}
	for _, p := range []*model.TokenProvider{remote, {Issuer: "a"}} {
		var bad *badToken
		if err := checkJWT(tok, p, time.Now(), false); !errors.As(err, &bad) || bad.status != 401 {
			t.Errorf("keys %q: %v", p.KeysFrom, err)
		}
	}
}

func TestTimesOfTokens(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for payload, want := range map[string]string{
		`{}`:                           "",
		`{"exp":999990}`:               "", // within the skew
		`{"exp":999989}`:               "it expired at 1970-01-12T13:46:29Z",
		`{"nbf":1000010}`:              "",
		`{"nbf":1000011}`:              "it is not valid before 1970-01-12T13:46:51Z",
		`{"exp":1000100,"nbf":999000}`: "",
	} {
		got := ""
		if err := checkTimes(unsignedJWT(t, payload), 10*time.Second, now); err != nil {
			got = err.Error()
		}
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", payload, got, want)
		}
	}
}

func TestTokensThatAreNone(t *testing.T) {
	for _, raw := range []string{"", "a.b", "a.b.c.d", "!.e30.x", "e30.!.x", "e30.bnVsbA.x", "e30.W10.x",
		"e30.eyJleHAiOiIxIn0.x" /* exp as text */, "e30.eyJzdWIiOjF9.x" /* sub as number */} {
		if _, err := readJWT(raw); err == nil {
			t.Errorf("%q is a token", raw)
		}
	}
}
