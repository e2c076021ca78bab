package record

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// openssl is a running s_client or s_server of OpenSSL, joined to a session of ours.
type openssl struct {
	ours *talker
	in   io.Writer     // its keyboard
	out  *bufio.Reader // its screen
	exit func() error
}

// patience with a program that hangs.
const patience = 20 * time.Second

func pemFiles(t *testing.T) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(mesh().PrivateKey)
	must(t, err)
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mesh().Certificate[0]}), 0o600))
	must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return cert, key
}

// withOpenSSL makes a session with suite; client: we are the client.
func withOpenSSL(t *testing.T, client bool, suite string) *openssl {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	cert, key := pemFiles(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	args := []string{"s_client", "-connect", l.Addr().String(), "-servername", "cart", "-verify_return_error"}
	if client {
		args = []string{"s_server", "-accept", "127.0.0.1:0", "-Verify", "1", "-verify_return_error", "-naccept", "1"}
	}
	args = append(args, "-tls1_3", "-ciphersuites", suite, "-cert", cert, "-key", key, "-CAfile", cert, "-alpn", "h2")
	o := start(t, args)
	var nc net.Conn
	if client {
		nc, err = net.Dial("tcp", o.accepting(t))
	} else {
		must(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(patience)))
		nc, err = l.Accept()
	}
	must(t, err)
	t.Cleanup(func() { nc.Close() })
	must(t, nc.SetDeadline(time.Now().Add(patience)))
	s, err := shake(t.Context(), nc, config(), client)
	must(t, err)
	if got := tls.CipherSuiteName(s.State.CipherSuite); got != suite {
		t.Fatalf("agreed on %s, not %s", got, suite)
	}
	o.ours = &talker{Conn: nc, s: s, in: s.Surplus}
	return o
}

func start(t *testing.T, args []string) *openssl {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), patience)
	cmd := exec.CommandContext(ctx, "openssl", args...)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	must(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed, or waited for
		if t.Failed() {
			t.Logf("openssl said: %s", complaints.String())
		}
	})
	return &openssl{in: in, out: bufio.NewReader(out), exit: func() error {
		in.Close()
		_, err := io.Copy(io.Discard, out)
		return errors.Join(err, cmd.Wait())
	}}
}

var acceptLine = regexp.MustCompile(`^ACCEPT (\S+:\d+)`)

// accepting waits until s_server tells its port.
func (o *openssl) accepting(t *testing.T) string {
	t.Helper()
	for {
		line, err := o.out.ReadString('\n')
		if m := acceptLine.FindStringSubmatch(line); m != nil {
			return m[1]
		}
		must(t, err)
	}
}

// shows waits for a line on its screen.
func (o *openssl) shows(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := o.out.ReadString('\n')
		if strings.TrimSpace(line) == want {
			return
		}
		if err != nil {
			t.Fatalf("openssl never showed %q: %v", want, err)
		}
	}
}

func eachSuite(t *testing.T, f func(t *testing.T, client bool, suite string)) {
	for _, s := range suites {
		name := tls.CipherSuiteName(s.id)
		t.Run(name, func(t *testing.T) {
			bothRoles(t, func(t *testing.T, client bool) { f(t, client, name) })
		})
	}
}

// OpenSSL renews keys on command, with and without asking us to.
func TestOpenSSLRenewsKeys(t *testing.T) {
	eachSuite(t, func(t *testing.T, client bool, suite string) {
		o := withOpenSSL(t, client, suite)
		lines := make(chan string, 1)
		go func() {
			defer close(lines)
			for r := bufio.NewReader(o.ours); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					lines <- err.Error()
					return
				}
				lines <- strings.TrimSpace(line)
			}
		}()
		say := func(s string) {
			t.Helper()
			_, err := io.WriteString(o.in, s+"\n")
			must(t, err)
			if got := <-lines; got != s {
				t.Fatalf("openssl says %q, we hear %q", s, got)
			}
			_, err = io.WriteString(o.ours, "to "+s+"\n")
			must(t, err)
			o.shows(t, "to "+s)
		}
		say("before")
		for _, command := range []string{"k", "K", "K", "k"} {
			in, out := o.ours.secrets()
			_, err := io.WriteString(o.in, command+"\n")
			must(t, err)
			waitFor(t, "openssl's KeyUpdate", func() bool { now, _ := o.ours.secrets(); return now != in })
			say("after " + command)
			if _, now := o.ours.secrets(); (now != out) != (command == "K") {
				t.Errorf("%s: our key was renewed: %v", command, now != out)
			}
		}
		must(t, o.ours.end(nil))
		if got := <-lines; got != io.EOF.Error() {
			t.Errorf("openssl ends without close_notify: %s", got)
		}
		must(t, o.exit())
	})
}

func (c *talker) secrets() (in, out string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.s.In.secret), string(c.s.Out.secret)
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// digits leaves out what s_server remarks between payload, such as "Read BLOCK".
type digits struct{ r *bufio.Reader }

func (d digits) Read(p []byte) (n int, err error) {
	for n == 0 && err == nil {
		var b []byte
		b, err = d.r.Peek(max(1, d.r.Buffered()))
		for _, c := range b[:min(len(b), len(p))] {
			if '0' <= c && c <= '9' {
				p[n] = c
				n++
			}
		}
		_, _ = d.r.Discard(min(len(b), len(p))) // it is buffered
	}
	return n, err
}

// Two MiB each way at once, while our side renews its keys every 10 records, and asks for OpenSSL's.
func TestOpenSSLBulk(t *testing.T) {
	eachSuite(t, func(t *testing.T, client bool, suite string) {
		o := withOpenSSL(t, client, suite)
		o.ours.s.RekeyAfter(10)
		const size = 2 << 20
		payload := make([]byte, size)
		r := rand.New(rand.NewPCG(5, 6))
		for i := range payload {
			payload[i] = '0' + byte(r.Uint32()%10) // letters would be commands
		}
		_, err := io.WriteString(o.ours, "begin\n")
		must(t, err)
		o.shows(t, "begin")
		over := make(chan error, 3)
		send := func(w io.Writer) {
			var err error
			for rest := payload; len(rest) > 0 && err == nil; {
				n := min(len(rest), 1+r.IntN(1<<16))
				_, err = w.Write(rest[:n])
				rest = rest[n:]
			}
			over <- err
		}
		receive := func(who string, from io.Reader) {
			got := make([]byte, size)
			_, err := io.ReadFull(from, got)
			for i := range got {
				if err == nil && got[i] != payload[i] {
					err = fmt.Errorf("%s: byte %d is changed: %.80q, not %.80q", who, i, got[i:], payload[i:])
				}
			}
			over <- err
		}
		go receive("openssl", digits{o.out})
		go receive("ours", o.ours)
		r = rand.New(rand.NewPCG(7, 8))
		send(o.ours)
		must(t, <-over)
		send(o.in)
		for range 3 {
			must(t, <-over)
		}
		must(t, o.ours.end(nil))
	})
}
