package calls

import (
	"sync"
	"time"
)

// Tally is what came of the calls since the last one.
type Tally struct {
	At       time.Time                 `json:"at"`
	Outcomes map[string]map[string]int `json:"outcomes"` // by kind and outcome
	Failures []Failure                 `json:"failures,omitempty"`
}

// Failure is one call that did not go as it should.
type Failure struct {
	Since time.Time `json:"since"` // when it began
	At    time.Time `json:"at"`    // when it failed
	Kind  string    `json:"kind"`
	Error string    `json:"error"`
	// More counts further failures that are not listed, in the last Failure of a Tally.
	More int `json:"more,omitempty"`
}

// maxListed failures are listed in one Tally.
const maxListed = 200

// counter collects a Tally.
type counter struct {
	mu sync.Mutex // protects t
	t  Tally
}

func newCounter() *counter { return &counter{t: Tally{Outcomes: map[string]map[string]int{}}} }

func (c *counter) add(kind string, since time.Time, outcome string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if n := len(c.t.Failures); n == maxListed {
			c.t.Failures[n-1].More++
		} else {
			c.t.Failures = append(c.t.Failures, Failure{Since: since, At: time.Now(), Kind: kind, Error: err.Error()})
		}
		return
	}
	if c.t.Outcomes[kind] == nil {
		c.t.Outcomes[kind] = map[string]int{}
	}
	c.t.Outcomes[kind][outcome]++
}

// take returns what was collected and begins anew.
func (c *counter) take() Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.t
	t.At = time.Now()
	c.t = Tally{Outcomes: map[string]map[string]int{}}
	return t
}
