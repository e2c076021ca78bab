package interop

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// tool runs a command-line client, which must be there in CI.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader("Q\n")
	out, _ := cmd.CombinedOutput() // most are to fail; what they say is checked
	return string(out)
}

func TestOpenSSL(t *testing.T) {
	m := newMesh(t)
	ca, cert, key := m.files()
	checkOpenSSL(t, m.addr, ca, cert, key)
	// The server counts after it has told the client.
	eventually(t, "all but the good client are refused in their handshake", func() error {
		if st := m.server.Stats(); st.Streams != 0 || st.Conns != 1 || st.HandshakesFailed < 4 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// checkOpenSSL expects a server that shakes hands with a member's certificate and with nothing less.
func checkOpenSSL(t *testing.T, addr, ca, cert, key string) {
	t.Helper()
	base := []string{"s_client", "-connect", addr, "-CAfile", ca, "-alpn", "h2"}
	with := func(args ...string) string { return tool(t, "openssl", append(base[:len(base):len(base)], args...)...) }
	good := with("-cert", cert, "-key", key, "-verify_return_error")
	for _, want := range []string{"Verify return code: 0 (ok)", "TLSv1.3", "ALPN protocol: h2", "_GCM_"} {
		if !strings.Contains(good, want) {
			t.Errorf("a good client does not see %q in:\n%s", want, good)
		}
	}
	// In TLS 1.3 a client learns that it was refused only after its handshake: it must read on.
	for what, args := range map[string][]string{
		"no certificate":   {"-ign_eof"},
		"TLS 1.2":          {"-cert", cert, "-key", key, "-tls1_2"},
		"ChaCha20 only":    {"-cert", cert, "-key", key, "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "-ign_eof"},
		"ALPN of HTTP/1.1": {"-cert", cert, "-key", key, "-alpn", "http/1.1", "-ign_eof"},
		"self-made key":    {"-cert", ca, "-key", key},
	} {
		if out := with(args...); !strings.Contains(out, "alert") && !strings.Contains(out, "mismatch") {
			t.Errorf("%s: was not refused:\n%s", what, out)
		}
	}
}

func TestCurl(t *testing.T) {
	m := newMesh(t)
	ca, cert, key := m.files()
	checkCurl(t, m.addr, ca, cert, key)
	if st := m.server.Stats(); st.Streams != 0 {
		t.Errorf("%+v", st)
	}
}

// checkCurl expects a server that answers no request but CONNECT, and nobody without a certificate. The
// server's name is a SPIFFE URI, which curl cannot check.
func checkCurl(t *testing.T, addr, ca, cert, key string) {
	t.Helper()
	if out := tool(t, "curl", "-sSv", "--http2", "--insecure", "--cacert", ca, "https://"+addr+"/"); !strings.Contains(out, "alert") && !strings.Contains(out, "SSL") {
		t.Errorf("without a certificate:\n%s", out)
	}
	if out := tool(t, "curl", "-sSv", "--http2", "--insecure", "--cacert", ca, "--cert", cert, "--key", key, "https://"+addr+"/"); !strings.Contains(out, "HTTP/2 400") {
		t.Errorf("GET with a certificate:\n%s", out)
	}
	if out := tool(t, "curl", "-sSv", "http://"+addr+"/"); strings.Contains(out, "200 OK") {
		t.Errorf("without TLS:\n%s", out)
	}
}
