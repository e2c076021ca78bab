package calls

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

func shopperKinds() []kind {
	return []kind{
		{"pay, server speaks first", 200 * time.Millisecond, talk(1, 0, quit)},
		{"pay, long connection", 2 * time.Second, talk(8, time.Second, quit)},
		{"pay, half-closed", 300 * time.Millisecond, talk(1, 0, halfClose)},
		{"pay, reset", 300 * time.Millisecond, talk(1, 0, reset)},
	}
}

// talk pays n times over one connection, with a pause after each, and ends it in one way or another.
func talk(n int, pause time.Duration, end func(*net.TCPConn, *bufio.Reader) error) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		conn, err := dial(ctx, "payments:9000")
		if err != nil {
			return "", err
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if err := expect(r, "220 "); err != nil {
			return "", fmt.Errorf("greeting: %w", err)
		}
		for range n {
			if _, err := fmt.Fprintf(conn, "CHARGE 100 %s\r\n", Card); err != nil {
				return "", err
			}
			if err := expect(r, "250 "); err != nil {
				return "", fmt.Errorf("charge: %w", err)
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		return OK, end(conn, r)
	}
}

func quit(conn *net.TCPConn, r *bufio.Reader) error {
	if _, err := fmt.Fprint(conn, "QUIT\r\n"); err != nil {
		return err
	}
	return errors.Join(expect(r, "221 "), expectEnd(r))
}

// halfClose says one thing more and closes its side; the answer and then the end must come.
func halfClose(conn *net.TCPConn, r *bufio.Reader) error {
	if _, err := fmt.Fprintf(conn, "CHARGE 200 %s\r\n", Card); err != nil {
		return err
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	return errors.Join(expect(r, "250 "), expectEnd(r))
}

// reset breaks the connection off; talk's Close sends the RST.
func reset(conn *net.TCPConn, _ *bufio.Reader) error { return conn.SetLinger(0) }

func expect(r *bufio.Reader, code string) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("waiting for %q: %w", code, err)
	}
	if !strings.HasPrefix(line, code) {
		return fmt.Errorf("answered %q, wanted %q", line, code)
	}
	return nil
}

func expectEnd(r *bufio.Reader) error {
	if line, err := r.ReadString('\n'); !errors.Is(err, io.EOF) {
		return fmt.Errorf("at the end: %q, %w", line, err)
	}
	return nil
}

// refused tries to talk to whoever must not be reached: not a byte may come back, and the refusal has to
// be one, not silence.
func refused(addr string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		conn, err := dial(ctx, addr)
		if err == nil {
			defer conn.Close()
			_, _ = fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
			var n int
			if n, err = conn.Read(make([]byte, 512)); n > 0 {
				return "", fmt.Errorf("%s was reached and answered", addr)
			}
		}
		var name *net.DNSError
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &name) {
			return "", fmt.Errorf("neither reached nor refused: %w", err)
		}
		return Refused, nil
	}
}

// dial connects and gives the connection the context's deadline.
func dial(ctx context.Context, addr string) (*net.TCPConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn.(*net.TCPConn), nil
}
