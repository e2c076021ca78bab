package verdict

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Limits of what one replica passes on: a ConfigMap holds 1 MiB, for all replicas.
const (
	maxBytes = 128 << 10
	fewWords = 80 // bytes of a refusal's words where all of them are too many
)

// Encode writes the words on several waypoints as text of a bounded size; "" is none. Of more than fit refusals go first,
// with fewer words, and what is left out is counted.
func Encode(words map[string]Word) string {
	if len(words) == 0 {
		return ""
	}
	out := make(map[string]Word, len(words))
	left := maxBytes
	for key, w := range words {
		out[key] = Word{Heard: w.Heard}
		left -= len(key) + 100 // what stands around its verdicts
	}
	keys := slices.Sorted(maps.Keys(words))
	full := left / 2
	for _, key := range keys {
		w := out[key]
		for _, v := range words[key].Refused {
			if size(v) > left-full {
				v.Words = shorten(v.Words)
			}
			w.Refused = fit(w.Refused, v, &left, &w.Omitted)
		}
		out[key] = w
	}
	for _, key := range keys {
		w := out[key]
		for _, v := range words[key].Accepted {
			w.Accepted = fit(w.Accepted, v, &left, &w.Omitted)
		}
		out[key] = w
	}
	text, _ := json.Marshal(out) // of strings and numbers: it cannot fail
	return string(text)
}

func size(v Verdict) int {
	text, _ := json.Marshal(v)
	return len(text) + 1
}

// fit appends what there is room for.
func fit(to []Verdict, v Verdict, left, omitted *int) []Verdict {
	n := size(v)
	if n > *left {
		*omitted++
		return to
	}
	*left -= n
	return append(to, v)
}

func shorten(s string) string {
	if len(s) <= fewWords {
		return s
	}
	return strings.ToValidUTF8(s[:fewWords], "") + " …"
}

// Decode reads what Encode wrote.
func Decode(text string) (map[string]Word, error) {
	out := map[string]Word{}
	if text == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, fmt.Errorf("verdicts of waypoints: %w", err)
	}
	return out, nil
}

func tooMany(n int) string {
	return fmt.Sprintf("%d more verdicts on objects were too many for the controller's replicas to tell each other: see the logs of all of them", n)
}
