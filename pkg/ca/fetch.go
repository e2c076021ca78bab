package ca

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Limits of asking for keys: strangers make us do it with every token that does not fit.
const (
	minFetch     = 5 * time.Second
	fetchTimeout = 3 * time.Second
	defaultFetch = 5 * time.Minute
)

// fetch asks for the keys unless that was done within notWithin. On an error those that are there stay.
func (a *JWTAuthenticator) fetch(ctx context.Context, notWithin time.Duration) (changed bool, err error) {
	a.fetching.Lock()
	defer a.fetching.Unlock()
	now := a.o.Clock.Now()
	if !a.asked.IsZero() && now.Sub(a.asked) < notWithin {
		return false, nil
	}
	a.asked = now
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	data, err := a.o.Fetch(ctx)
	if err != nil {
		return false, fmt.Errorf("public keys of tokens: %w", err)
	}
	keys, err := parseVerifyKeys(data)
	if err != nil {
		return false, fmt.Errorf("public keys of tokens: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	changed = !bytes.Equal(a.raw, data)
	a.keys, a.raw = keys, data
	return changed, nil
}

// Run refreshes keys that are fetched until ctx ends; those of a file it leaves to the tokens.
func (a *JWTAuthenticator) Run(ctx context.Context, log *zap.Logger) {
	every := a.o.RefreshEvery
	if every == 0 {
		every = defaultFetch
	}
	for a.o.Fetch != nil {
		select {
		case <-ctx.Done():
			return
		case <-a.o.Clock.After(every):
		}
		if changed, err := a.fetch(ctx, 0); err != nil && ctx.Err() == nil {
			log.Warn("the keys of service-account tokens cannot be refreshed; those known are used", zap.Error(err))
		} else if changed {
			log.Info("the keys of service-account tokens have changed")
		}
	}
}
