package ca

import (
	"context"
	"fmt"
	"time"
)

// PodAuthenticator refuses tokens of pods that are gone: a token outlives its pod by up to an hour, and where
// it was copied it would go on being good. Tokens that are bound to no pod pass, and so do certificates.
type PodAuthenticator struct {
	Authenticator
	// Find returns the UID of a pod that is known.
	Find func(namespace, name string) (uid string, known bool)
	// Grace is how long a pod that is not known yet is waited for: it may have been made just now. Default 2 s.
	Grace time.Duration
	// Clock, default the machine's.
	Clock Clock
}

// findEvery is how often a pod that is not known is looked for.
const findEvery = 50 * time.Millisecond

// Authenticate asks the Authenticator and then for the pod.
func (a PodAuthenticator) Authenticate(ctx context.Context) (Caller, error) {
	c, err := a.Authenticator.Authenticate(ctx)
	if err != nil || c.PodUID == "" {
		return c, err
	}
	grace, clock := a.Grace, clockOr(a.Clock)
	if grace == 0 {
		grace = 2 * time.Second
	}
	for giveUp := clock.Now().Add(grace); ; {
		uid, known := a.Find(c.Namespace, c.Pod)
		switch {
		case known && uid == c.PodUID:
			return c, nil
		case !clock.Now().Before(giveUp) && known:
			return Caller{}, fmt.Errorf("%w: token of an earlier pod %s/%s, which is gone", ErrUnauthenticated, c.Namespace, c.Pod)
		case !clock.Now().Before(giveUp):
			return Caller{}, fmt.Errorf("%w: token of pod %s/%s, which the controller does not know (a pod that was just made is known a moment later)", ErrUnauthenticated, c.Namespace, c.Pod)
		}
		select {
		case <-ctx.Done():
			return Caller{}, fmt.Errorf("%w: pod %s/%s is not known: %w", ErrUnauthenticated, c.Namespace, c.Pod, ctx.Err())
		case <-clock.After(findEvery):
		}
	}
}
