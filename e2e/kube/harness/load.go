package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Count is what became of one kind of calls, as the app in the pod counts them.
type Count struct {
	Sent         int      `json:"sent"`
	OK           int      `json:"ok"`
	Failed       int      `json:"failed"`
	Broken       int      `json:"broken"`
	LongestGapMs int64    `json:"longestGapMs"`
	Errors       []string `json:"errors"`
}

// Load is a pod that calls all the time.
type Load struct {
	env             *Env
	Namespace, Name string
	targets         []string
}

// StartLoad makes a pod that calls the targets (app load) and waits until each of them has answered.
func (e *Env) StartLoad(ctx context.Context, namespace, name, node string, rate int, mark string, targets ...string) (*Load, error) {
	// the timeout is long: on a machine that is short of processors calls are slow, and that is no failure of the mesh
	command := append([]string{"load", "-rate", fmt.Sprint(rate), "-timeout", "20s", "-mark", mark}, targets...)
	if err := e.Pod(ctx, namespace, name, node, command...); err != nil {
		return nil, err
	}
	l := &Load{env: e, Namespace: namespace, Name: name, targets: targets}
	return l, Poll(ctx, 60*time.Second, "load "+name+" to be answered", func(ctx context.Context) error {
		counts, err := l.Counts(ctx)
		if err != nil {
			return err
		}
		for _, t := range targets {
			if counts[t].OK == 0 {
				return fmt.Errorf("%s has not answered yet: %v", t, counts[t].Errors)
			}
		}
		return nil
	})
}

// Counts are those so far, by target.
func (l *Load) Counts(ctx context.Context) (map[string]Count, error) {
	out, err := l.env.Exec(ctx, l.Namespace, l.Name, "/bin/app", "stats")
	if err != nil {
		return nil, err
	}
	counts := map[string]Count{}
	return counts, json.Unmarshal([]byte(out), &counts)
}

// More waits until every target got so many more answers (of whatever kind) since the counts given: calls that began
// after an event have then been made.
func (l *Load) More(ctx context.Context, since map[string]Count, n int) error {
	return Poll(ctx, 60*time.Second, fmt.Sprintf("%d more calls", n), func(ctx context.Context) error {
		now, err := l.Counts(ctx)
		if err != nil {
			return err
		}
		for _, t := range l.targets {
			if now[t].OK < since[t].OK+n {
				return fmt.Errorf("%s: %d of %d: %v", t, now[t].OK-since[t].OK, n, now[t].Errors)
			}
		}
		return nil
	})
}

// Sum adds counts up; errors keep their target's kind.
func Sum(all ...map[string]Count) Count {
	var sum Count
	for _, counts := range all {
		for target, c := range counts {
			kind, _, _ := strings.Cut(target, "=")
			sum.Sent += c.Sent
			sum.OK += c.OK
			sum.Failed += c.Failed
			sum.Broken += c.Broken
			sum.LongestGapMs = max(sum.LongestGapMs, c.LongestGapMs)
			for _, e := range c.Errors {
				sum.Errors = append(sum.Errors, kind+" "+e)
			}
		}
	}
	slices.Sort(sum.Errors)
	return sum
}
