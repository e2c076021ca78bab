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
	base := []string{"s_client", "-connect", m.addr, "-CAfile", ca, "-alpn", "h2"}
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
	// The server counts after it has told the client.
	eventually(t, "all but the good client are refused in their handshake", func() error {
		if st := m.server.Stats(); st.Streams != 0 || st.Conns != 1 || st.HandshakesFailed < 4 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

func TestCurl(t *testing.T) {
	m := newMesh(t)
	ca, cert, key := m.files()
	if out := tool(t, "curl", "-sSv", "--http2", "--cacert", ca, "https://"+m.addr+"/"); !strings.Contains(out, "alert") && !strings.Contains(out, "SSL") {
		t.Errorf("without a certificate:\n%s", out)
	}
	if out := tool(t, "curl", "-sSv", "--http2", "--cacert", ca, "--cert", cert, "--key", key, "https://"+m.addr+"/"); !strings.Contains(out, "HTTP/2 400") {
		t.Errorf("GET with a certificate:\n%s", out)
	}
	if out := tool(t, "curl", "-sSv", "http://"+m.addr+"/"); strings.Contains(out, "200 OK") {
		t.Errorf("without TLS:\n%s", out)
	}
	if st := m.server.Stats(); st.Streams != 0 {
		t.Errorf("%+v", st)
	}
}
