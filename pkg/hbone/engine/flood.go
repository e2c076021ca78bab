package engine

import (
	"fmt"
	"time"
)

// What a peer can do to cost us work without moving bytes, each counted on its own.
const (
	floodPing = iota
	floodSettings
	floodReset
	floodEmptyData
	floodWindow
	floodHeaders
	floodPriority
	floodStray
	floodBad
	floodOther
	floodKinds
)

// floodLimits are generous for every implementation we know, and hopeless for an attacker.
var floodLimits = [floodKinds]struct {
	name      string
	burst     int
	perSecond int
}{
	floodPing:      {"ping", 100, 10},
	floodSettings:  {"settings", 30, 1},
	floodReset:     {"rapid-reset", 400, 50}, // requests withdrawn before they were answered
	floodEmptyData: {"empty-data", 100, 10},
	floodWindow:    {"window-update", 2000, 200}, // also paid back by the data we send
	floodHeaders:   {"headers", 0, 0},            // a header block beyond bounds is fatal at once
	floodPriority:  {"priority", 500, 20},
	floodStray:     {"stray-frames", 2000, 100},
	floodBad:       {"bad-requests", 200, 20},
	floodOther:     {"unknown-frames", 100, 10},
}

// bucket leaks perSecond.
type bucket struct {
	level int
	at    time.Time
}

func (b *bucket) fill(now time.Time, perSecond int) {
	if b.level == 0 {
		b.at = now
	} else if leak := int(now.Sub(b.at) * time.Duration(perSecond) / time.Second); leak > 0 {
		b.pay(leak)
		b.at = now
	}
	b.level++
}

func (b *bucket) pay(n int) { b.level = max(0, b.level-n) }

// flood counts one more of kind and fails when that is too many.
func (c *Conn) flood(kind int, format string, args ...any) error {
	l, b := floodLimits[kind], &c.floods[kind]
	b.fill(c.now, l.perSecond)
	if b.level <= l.burst {
		return nil
	}
	return &ConnError{Code: EnhanceYourCalm, Flood: l.name, Reason: "flood: " + fmt.Sprintf(format, args...)}
}

// What a client may reset on one connection before it takes another: servers close a connection, with all its
// streams, for rapid resets (CVE-2023-44487), and applications that end by a reset are no attackers. The
// strictest that we know are our own server (floodReset, streams that are open now on top) and nghttp2 in
// Envoy (1,000 at once, 33 a second).
const (
	resetBurst     = 250
	resetPerSecond = 30
)

// spendReset counts a reset that we send, and says goodbye before the server has enough of them.
func (c *Conn) spendReset() {
	if !c.o.Client || c.sentGoAway {
		return
	}
	if c.resets.fill(c.now, resetPerSecond); c.resets.level > resetBurst {
		c.goAway(NoError, "")
	}
}
