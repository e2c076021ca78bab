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

func (b *bucket) pay(n int) { b.level = max(0, b.level-n) }

// flood counts one more of kind and fails when that is too many.
func (c *Conn) flood(kind int, format string, args ...any) error {
	l, b := floodLimits[kind], &c.floods[kind]
	if b.level == 0 {
		b.at = c.now
	} else if leak := int(c.now.Sub(b.at) * time.Duration(l.perSecond) / time.Second); leak > 0 {
		b.pay(leak)
		b.at = c.now
	}
	b.level++
	if b.level <= l.burst {
		return nil
	}
	return &ConnError{Code: EnhanceYourCalm, Flood: l.name, Reason: "flood: " + fmt.Sprintf(format, args...)}
}
