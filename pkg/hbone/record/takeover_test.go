package record

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestConfigsThatAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*tls.Config) *tls.Config{
		"none": func(*tls.Config) *tls.Config { return nil },
		"GetConfigForClient": func(c *tls.Config) *tls.Config {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
			return c
		},
		"KeyLogWriter": func(c *tls.Config) *tls.Config { c.KeyLogWriter = io.Discard; return c },
	} {
		bothRoles(t, func(t *testing.T, client bool) {
			a, _ := pipe(t)
			if s, err := shake(t.Context(), a, spoil(config()), client); err == nil || s != nil {
				t.Errorf("%s: taken", name)
			}
		})
	}
}

// The caller's config stays as it is: above all, nothing of ours is left in it.
func TestConfigIsCloned(t *testing.T) {
	base := config()
	base.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	var s secrets
	cfg, err := configFor(base, &s)
	must(t, err)
	if base.KeyLogWriter != nil || base.SessionTicketsDisabled || base.ClientSessionCache == nil || base.MaxVersion != 0 {
		t.Error("base was changed")
	}
	if cfg.MinVersion != tls.VersionTLS13 || !cfg.SessionTicketsDisabled || cfg.ClientSessionCache != nil {
		t.Errorf("not tightened: %+v", cfg)
	}
}

func TestPeerOfAnOlderVersion(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		a, b := pipe(t)
		old := config()
		old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		go func() {
			if client {
				_ = tls.Server(b, old).Handshake()
			} else {
				_ = tls.Client(b, old).Handshake()
			}
		}()
		if _, err := shake(t.Context(), a, config(), client); err == nil || !strings.HasPrefix(err.Error(), "tls: ") && !strings.HasPrefix(err.Error(), "remote error: ") {
			t.Errorf("TLS 1.2: %v", err)
		}
	})
}

// What authenticates is crypto/tls: a peer that it refuses is refused.
func TestUnknownPeersAreRefused(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		a, b := pipe(t)
		cfg := config()
		cfg.VerifyConnection = func(tls.ConnectionState) error { return errors.New("a stranger") }
		go func() { _, _ = shake(context.Background(), b, config(), !client) }()
		if s, err := shake(t.Context(), a, cfg, client); s != nil || err == nil || !strings.Contains(err.Error(), "a stranger") {
			t.Errorf("taken over: %v", err)
		}
	})
}

func TestContextEndsTheHandshake(t *testing.T) {
	bothRoles(t, func(t *testing.T, client bool) {
		a, _ := pipe(t) // nobody answers
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := shake(ctx, a, config(), client); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// Only these states can be gone on from.
func TestStatesThatAreRefused(t *testing.T) {
	good := tls.ConnectionState{HandshakeComplete: true, Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384}
	for name, c := range map[string]struct {
		spoil  func(*tls.ConnectionState)
		secret int
	}{
		"unfinished":   {func(s *tls.ConnectionState) { s.HandshakeComplete = false }, 48},
		"TLS 1.2":      {func(s *tls.ConnectionState) { s.Version = tls.VersionTLS12 }, 48},
		"resumed":      {func(s *tls.ConnectionState) { s.DidResume = true }, 48},
		"ChaCha20":     {func(s *tls.ConnectionState) { s.CipherSuite = tls.TLS_CHACHA20_POLY1305_SHA256 }, 32},
		"no secret":    {func(s *tls.ConnectionState) {}, 0},
		"short secret": {func(s *tls.ConnectionState) {}, 32},
	} {
		s := good
		c.spoil(&s)
		if _, err := newSession(s, true, make([]byte, c.secret), make([]byte, c.secret), nil); !errors.Is(err, ErrTakeover) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newSession(good, true, make([]byte, 48), make([]byte, 48), nil); err != nil {
		t.Error(err)
	}
}

// crypto/tls must not seal anything more: it would use the numbers that we begin at.
func TestStdlibLosesTheConnection(t *testing.T) {
	a, b := pipe(t)
	go func() { _, _ = Server(context.Background(), b, config()) }()
	conn, _, _, err := shakeHands(t.Context(), a, config(), true)
	must(t, err)
	if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := conn.CloseWrite(); !errors.Is(err, ErrClosed) {
		t.Errorf("close_notify: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
}

// held reads the first message at once, and waits with the others.
type held struct {
	net.Conn
	first bool
	ready chan struct{}
}

func (h *held) Read(p []byte) (int, error) {
	if h.first {
		h.first = false
	} else {
		<-h.ready
	}
	return h.Conn.Read(p)
}

// Records that come in one packet with the end of the handshake are neither lost nor given to crypto/tls.
func TestSurplusIsKept(t *testing.T) {
	a, b := pipe(t)
	h := &held{Conn: a, first: true, ready: make(chan struct{})}
	over := make(chan error, 1)
	go func() {
		defer close(h.ready)
		s, err := Client(context.Background(), b, config())
		if err == nil {
			_, err = (&talker{Conn: b, s: s, in: s.Surplus}).Write([]byte("early"))
		}
		over <- err
	}()
	s, err := Server(t.Context(), h, config())
	must(t, err)
	must(t, <-over)
	p, n, err := s.In.Open(s.Surplus)
	if err != nil || n != len(s.Surplus) || string(p) != "early" {
		t.Errorf("%d bytes of surplus: %q %v", len(s.Surplus), p, err)
	}
}

func TestSecretsWriter(t *testing.T) {
	r := strings.Repeat("ab", 32)
	key := strings.Repeat("cd", 32)
	line := func(label, random, secret string) string { return label + " " + random + " " + secret + "\n" }
	good := []string{line(handshakeOfClient, r, key), line(handshakeOfServer, r, key), line(trafficOfClient, r, key), line(trafficOfServer, r, key)}
	for name, lines := range map[string][]string{
		"TLS 1.2":         {line("CLIENT_RANDOM", r, key)},
		"exporter":        append(good, line("EXPORTER_SECRET", r, key)),
		"early data":      {line("CLIENT_EARLY_TRAFFIC_SECRET", r, key)},
		"later one":       append(good, line("CLIENT_TRAFFIC_SECRET_1", r, key)),
		"two words":       {"CLIENT_TRAFFIC_SECRET_0 " + key + "\n"},
		"four words":      {line(trafficOfClient, r, key+" x")},
		"nothing":         {""},
		"twice":           {good[2], good[2]},
		"of two":          {good[2], line(trafficOfServer, key, key)},
		"not hexadecimal": {line(trafficOfClient, r, "secretsecret")},
		"half a byte":     {line(trafficOfClient, r, key+"a")},
	} {
		var s secrets
		var err error
		for _, l := range lines {
			if _, err = s.Write([]byte(l)); err != nil {
				break
			}
		}
		if !errors.Is(err, ErrTakeover) || strings.Contains(fmt.Sprint(err), key[:8]) || strings.Contains(fmt.Sprint(err), "secretsecret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var s secrets
	for _, l := range good {
		_, err := s.Write([]byte(l))
		must(t, err)
	}
	if len(s.client) != 32 || len(s.server) != 32 || s.client[0] != 0xcd {
		t.Errorf("kept %x and %x", s.client, s.server)
	}
}

// In FIPS mode there is no session, and the error names the way out.
func TestFIPSIsRefused(t *testing.T) {
	const child = "WEFT_TEST_FIPS"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFIPSIsRefused$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=fips140=on")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	a, _ := pipe(t)
	if _, err := Client(t.Context(), a, config()); !errors.Is(err, ErrTakeover) || !strings.Contains(err.Error(), "--tunnel-tls=stdlib") {
		t.Error(err)
	}
}
