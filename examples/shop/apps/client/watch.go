package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"
)

// watch asks until it is told to stop, and prints the value of a header of the answers whenever it is another one
// than before. A request that fails is printed too.
func watch(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("watch", flag.ExitOnError)
	every := fs.Duration("every", 2*time.Millisecond, "pause between requests")
	fresh := fs.Bool("fresh", false, "a new connection for each request")
	_ = fs.Parse(args)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: *fresh}}
	last := "\x00"
	for ctx.Err() == nil {
		now, err := headerOf(ctx, client, fs.Arg(0), fs.Arg(1))
		if err != nil {
			now = "! " + err.Error()
		}
		if now != last && ctx.Err() == nil {
			fmt.Fprintln(out, now)
			last = now
		}
		select {
		case <-ctx.Done():
		case <-time.After(*every):
		}
	}
	return nil
}

func headerOf(ctx context.Context, client *http.Client, name, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	return resp.Header.Get(name), nil
}
