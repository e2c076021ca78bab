package ca

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type always Caller

func (c always) Authenticate(context.Context) (Caller, error) { return Caller(c), nil }

func TestTokensOfPodsThatAreGone(t *testing.T) {
	const unknown = "unknown"
	for name, tc := range map[string]struct {
		token, is string // UIDs
		says      string // empty: it passes
	}{
		"the pod's own":    {"a", "a", ""},
		"bound to no pod":  {"", unknown, ""},
		"of its successor": {"a", "b", "an earlier pod shop/cart-1"},
		"nobody knows it":  {"a", unknown, "does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			a := PodAuthenticator{Authenticator: always{Namespace: "shop", Pod: "cart-1", PodUID: tc.token}, Grace: time.Millisecond,
				Find: func(ns, pod string) (string, bool) { return tc.is, ns == "shop" && pod == "cart-1" && tc.is != unknown }}
			c, err := a.Authenticate(t.Context())
			if tc.says == "" && (err != nil || c.Pod != "cart-1") {
				t.Errorf("got %v, %v", c, err)
			}
			if tc.says != "" && (!errors.Is(err, ErrUnauthenticated) || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("got %v, want one that says %q", err, tc.says)
			}
		})
	}
	t.Run("it becomes known", func(t *testing.T) {
		var asked atomic.Int32
		a := PodAuthenticator{Authenticator: always{Pod: "cart-1", PodUID: "a"}, Grace: time.Minute,
			Find: func(string, string) (string, bool) { return "a", asked.Add(1) > 2 }}
		if _, err := a.Authenticate(t.Context()); err != nil {
			t.Errorf("got %v", err)
		}
	})
}
