package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Client asks the agent. Each call makes a connection of its own.
type Client struct {
	// Path of the agent's socket. Empty: DefaultSocket.
	Path string
}

// Add returns nil when the pod is captured or is not to be. Errors: ErrAway, ErrSlow, ErrRefused.
func (c Client) Add(ctx context.Context, p Pod) error { return c.call(ctx, opAdd, p) }

// Del tells that the pod's network goes. Errors: ErrAway, ErrSlow, ErrRefused.
func (c Client) Del(ctx context.Context, p Pod) error { return c.call(ctx, opDel, p) }

// Check returns nil when the pod is as Add left it. Errors: ErrAway, ErrSlow, ErrRefused.
func (c Client) Check(ctx context.Context, p Pod) error { return c.call(ctx, opCheck, p) }

func (c Client) call(ctx context.Context, op string, p Pod) error {
	path := c.Path
	if path == "" {
		path = DefaultSocket
	}
	req := request{Pod: p}
	if p.Netns != "" {
		// Held open during the call: the agent takes it from here, whatever is mounted where it runs.
		f, err := os.Open(p.Netns)
		if err != nil && op != opDel {
			return fmt.Errorf("open the pod's network namespace: %w", err)
		}
		if err == nil {
			defer f.Close()
			req.NetnsFD = int(f.Fd())
		}
	}
	if d, ok := ctx.Deadline(); ok {
		req.WaitMS = max(time.Until(d).Milliseconds(), 1)
	}
	body, err := json.Marshal(req)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+version+op, bytes.NewReader(body))
	if err != nil {
		return err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer conn.Close()
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	resp, err := t.RoundTrip(r)
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ErrSlow, err)
	case err != nil:
		return fmt.Errorf("%w any more: %w", ErrAway, err)
	}
	defer resp.Body.Close()
	return answer(resp)
}

// answer reads what the agent says.
func answer(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBytes))
	if err != nil {
		return fmt.Errorf("%w any more: its answer breaks off: %w", ErrAway, err)
	}
	var a response
	switch err := json.Unmarshal(b, &a); {
	case resp.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: it does not speak version %s of the protocol (plugin and agent are of different versions; the agent renews the plugin when it starts)",
			ErrRefused, version[1:len(version)-1])
	case err != nil:
		return fmt.Errorf("%w: answer %s is not to be understood: %w", ErrRefused, resp.Status, err)
	case a.Error != "" || resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s", ErrRefused, a.Error)
	}
	return nil
}
