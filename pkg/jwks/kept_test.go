package jwks_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/jwks"
)

// What an earlier run fetched is in force until the first success, unless it is too old, of another place, or garbage.
func TestKeptKeys(t *testing.T) {
	p := &provider{}
	srv := httptest.NewServer(p)
	defer srv.Close()
	l := jwks.Location{URI: srv.URL + "/keys", Refresh: time.Minute}
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	keys := string(set(t, "one"))
	for _, c := range []struct {
		what string
		kept jwks.Kept
		want bool
	}{
		{"of an hour ago", jwks.Kept{URI: l.URI, Fetched: now.Add(-time.Hour), Keys: keys}, true},
		{"too old", jwks.Kept{URI: l.URI, Fetched: now.Add(-jwks.MaxAge - time.Second), Keys: keys}, false},
		{"of tomorrow", jwks.Kept{URI: l.URI, Fetched: now.Add(time.Hour), Keys: keys}, false},
		{"of another place", jwks.Kept{URI: "https://example.com", Fetched: now, Keys: keys}, false},
		{"garbage", jwks.Kept{URI: l.URI, Fetched: now, Keys: "{"}, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			p.set(500, nil)
			changed, kept := make(chan struct{}, 100), make(chan jwks.Kept, 100)
			tick := make(chan time.Time)
			f := jwks.NewFetcher(jwks.Options{
				OnChange: func() { changed <- struct{}{} }, After: func(time.Duration) <-chan time.Time { return tick }, Now: func() time.Time { return now },
				Kept: map[string]jwks.Kept{l.Name(): c.kept}, Keep: func(_ string, k jwks.Kept) { kept <- k },
			})
			defer f.Close()
			f.Watch([]jwks.Location{l})
			if got := f.States()[l.ID()].Keys; strings.Contains(got, `"one"`) != c.want {
				t.Errorf("at once: %q", got)
			}
			<-changed
			if s := f.States()[l.ID()]; strings.Contains(s.Keys, `"one"`) != c.want || s.Error == "" {
				t.Errorf("after a failure: %+v", s)
			}
			p.set(200, set(t, "two"))
			tick <- time.Time{}
			<-changed
			if s := f.States()[l.ID()]; !strings.Contains(s.Keys, `"two"`) || strings.Contains(s.Keys, `"one"`) {
				t.Errorf("after a success: %+v", s)
			}
			if k := <-kept; !strings.Contains(k.Keys, `"two"`) || k.URI != l.URI || !k.Fetched.Equal(now) {
				t.Errorf("kept is %+v", k)
			}
		})
	}
}

// A set that stays the same is kept again once an hour, not each time.
func TestKeptOnceAnHour(t *testing.T) {
	p := &provider{}
	srv := httptest.NewServer(p)
	defer srv.Close()
	p.set(200, set(t, "one"))
	clock, kept := make(chan time.Time, 100), make(chan jwks.Kept, 100)
	tick := make(chan time.Time)
	start := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	clock <- start
	f := jwks.NewFetcher(jwks.Options{
		OnChange: func() {}, After: func(time.Duration) <-chan time.Time { return tick }, Now: func() time.Time { return <-clock },
		Keep: func(_ string, k jwks.Kept) { kept <- k },
	})
	defer f.Close()
	f.Watch([]jwks.Location{{URI: srv.URL, Refresh: time.Minute}})
	for _, after := range []time.Duration{time.Minute, 59 * time.Minute, 61 * time.Minute, 62 * time.Minute, 122 * time.Minute} {
		clock <- start.Add(after)
		tick <- time.Time{}
	}
	clock <- start.Add(122 * time.Minute)
	tick <- time.Time{} // all before it is done
	var got []time.Duration
	for range 3 {
		got = append(got, (<-kept).Fetched.Sub(start))
	}
	if got[0] != 0 || got[1] != 61*time.Minute || got[2] != 122*time.Minute || len(kept) > 0 {
		t.Errorf("kept at %v, and %d times more", got, len(kept))
	}
}

// A set is kept for all who want it when it is kept, whoever came first; nobody's coming fetches it anew.
func TestKeptForWhom(t *testing.T) {
	p := &provider{}
	srv := httptest.NewServer(p)
	defer srv.Close()
	p.set(200, set(t, "one"))
	kept, tick, changed := make(chan jwks.Kept, 100), make(chan time.Time), make(chan struct{}, 100)
	f := jwks.NewFetcher(jwks.Options{
		OnChange: func() { changed <- struct{}{} }, After: func(time.Duration) <-chan time.Time { return tick }, Keep: func(_ string, k jwks.Kept) { kept <- k },
	})
	defer f.Close()
	at := func(ns string) jwks.Location {
		return jwks.Location{URI: srv.URL, Refresh: time.Minute, For: []string{ns}}
	}
	f.Watch([]jwks.Location{at("shop"), at("bank"), at("shop")})
	if k := <-kept; !slices.Equal(k.For, []string{"bank", "shop"}) {
		t.Errorf("kept for %q", k.For)
	}
	var many []jwks.Location
	for i := range 30 {
		many = append(many, at(fmt.Sprintf("team%02d", i)))
	}
	f.Watch(many)
	p.set(200, set(t, "two"))
	tick <- time.Time{}
	if k := <-kept; len(k.For) != 16 || k.For[0] != "team00" || !strings.Contains(k.Keys, `"two"`) {
		t.Errorf("kept is %+v", k)
	}
}
