package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// noisePiece is the body of one of its uploads: each is compared and answered, then the next begins.
const noisePiece = 16 << 20

// noise keeps a path as busy as it can until stdin closes: by uploads on o.streams connections, or by new
// connections in o.conns loops. It says GOING on stderr once it does.
func noise(o options) (result, error) {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	return makeNoise(ctx, o, sync.OnceFunc(func() { fmt.Fprintln(os.Stderr, "GOING") }))
}

// makeNoise is noise until ctx ends; it calls going whenever something has been done.
func makeNoise(ctx context.Context, o options, going func()) (result, error) {
	switch o.kind {
	case "uploads":
		return uploads(ctx, o, going)
	case "connections":
		return visits(ctx, o, going), nil
	}
	return result{}, fmt.Errorf("-kind %q: want uploads or connections", o.kind)
}

func uploads(ctx context.Context, o options, going func()) (result, error) {
	var (
		mu  sync.Mutex
		sum int64
		wg  sync.WaitGroup
	)
	errs := make([]error, o.streams)
	start := time.Now()
	for i := range o.streams {
		wg.Go(func() {
			s, err := dial(o, noisePiece, 0)
			if err != nil {
				errs[i] = err
				return
			}
			defer s.Close()
			for ctx.Err() == nil {
				if errs[i] = s.do(noisePiece); errs[i] != nil {
					return
				}
				mu.Lock()
				sum += noisePiece
				mu.Unlock()
				going()
			}
		})
	}
	wg.Wait()
	return result{Seconds: time.Since(start).Seconds(), Bytes: sum}, errors.Join(errs...)
}
