package report

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestRedact(t *testing.T) {
	const key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIGsecret\nsecret==\n-----END EC PRIVATE KEY-----"
	tests := []struct{ name, text, want string }{
		{"key", "a\n" + key + "\nb", "a\n[REDACTED]\nb"},
		{"key in JSON", `{"k":"` + strings.ReplaceAll(key, "\n", `\n`) + `"}`, `{"k":"[REDACTED]"}`},
		{"key cut off", "a\n-----BEGIN PRIVATE KEY-----\nMHsecret", "a\n[REDACTED]"},
		{"two keys", key + "\nbetween\n" + key, "[REDACTED]\nbetween\n[REDACTED]"},
		{"certificates stay", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"},
		{"token", "token=eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl end", "token=[REDACTED] end"},
		{"bearer", "Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [REDACTED]"},
		{"basic", `"authorization":"Basic dXNlcjpwYXNzd29yZA=="`, `"authorization":"Basic [REDACTED]"`},
		{"password in a URL", "https://user:hunter2@example.com/x", "https://user:[REDACTED]@example.com/x"},
		{"password in JSON", `{"dbPassword":"hunter2","x":1}`, `{"dbPassword":"[REDACTED]","x":1}`},
		{"password in YAML", "client-secret: hunter2\nname: x", "client-secret: [REDACTED]\nname: x"},
		{"nothing", "spiffe://cluster.local/ns/shop/sa/cart 10.0.0.1:8080", "spiffe://cluster.local/ns/shop/sa/cart 10.0.0.1:8080"},
		{"status of secrets", "kubectl get secret weft-ca", "kubectl get secret weft-ca"},
	}
	for _, tc := range tests {
		if got := string(Redact([]byte(tc.text))); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// No file gets into the archive but through Redact, and what failed is noted.
func TestArchiveRedacts(t *testing.T) {
	var buf bytes.Buffer
	a := newArchive(&buf, "r", time.Unix(1, 0))
	a.add("log", []byte("Bearer abcdefgh12345678"))
	a.failed("page", errors.New("refused https://u:hunter2@host"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	gz, err := gzip.NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(text)
	}
	if got["r/log"] != "Bearer [REDACTED]" || got["r/page.error.txt"] != "refused https://u:[REDACTED]@host\n" {
		t.Errorf("%q", got)
	}
}
