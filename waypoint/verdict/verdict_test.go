package verdict

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/waypoint/translate"
)

var (
	patch   = translate.Source{Kind: translate.KindPatch, Namespace: "shop", Name: "patch"}
	route   = translate.Source{Kind: "HTTPRoute", Namespace: "shop", Name: "route"}
	tried   = "wait EnvoyPatch/shop/patch: not in force yet: the waypoint tries it with an Envoy of its own first"
	nobody  = "wait EnvoyPatch/shop/patch: not in force: the waypoint has no pod that is ready, and is to try it with an Envoy of its own first"
	refused = "EnvoyPatch/shop/patch: no"
)

// said is a word in short: "heard patch+1 route-2" has accepted version 1 of the patch and refused version 2 of the route.
func said(short string) Word {
	var w Word
	for _, f := range strings.Fields(short) {
		src := map[string]translate.Source{"patch": patch, "route": route, "": {}}
		switch name, version, ok := strings.Cut(f, "+"); {
		case f == "heard":
			w.Heard = true
		case ok:
			w.Accepted = append(w.Accepted, Verdict{Source: src[name], Version: version})
		default:
			name, version, _ = strings.Cut(f, "-")
			w.Refused = append(w.Refused, Verdict{Source: src[name], Version: version, Words: "no"})
		}
	}
	return w
}

func text(o Outcome) string {
	var out []string
	for _, p := range o.Problems {
		line := p.Source.String() + ": " + p.Message
		if p.Waiting {
			line = "wait " + line
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

func now(version string, ready bool) Objects {
	return Objects{
		Patches: map[translate.Source]string{patch: version},
		Version: func(src translate.Source) string {
			return map[translate.Source]string{patch: version, route: version}[src]
		},
		Ready: func() bool { return ready },
	}
}

func TestMerge(t *testing.T) {
	for _, c := range []struct {
		name, want string
		words      []string
		before     []string // words of the time before, when the version was 1
		version    string
		unready    bool
	}{
		{name: "nobody has said anything", words: []string{""}, want: tried},
		{name: "and there is no pod", words: []string{""}, unready: true, want: nobody},
		{name: "connected, not tried yet", words: []string{"heard"}, unready: true, want: tried},
		{name: "accepted here", words: []string{"heard patch+1"}},
		{name: "accepted at another", words: []string{"", "heard patch+1"}},
		{name: "refused at another", words: []string{"", "heard patch-1"}, want: refused},
		{name: "refused at one, accepted at the other", words: []string{"heard patch+1", "heard patch-1"}, want: refused},
		{name: "refused at both is said once", words: []string{"heard patch-1", "heard patch-1"}, want: refused},
		{name: "accepted at one, not yet at the other", words: []string{"heard patch+1", "heard"}, want: tried},
		{name: "an older version was accepted", words: []string{"", "heard patch+0"}, want: tried},
		{name: "an older version was refused", words: []string{"", "heard patch-0"}, want: tried},
		{name: "an older one refused, this one accepted", words: []string{"heard patch+1", "heard patch+1 patch-0"}},
		{name: "a newer one was read there", words: []string{"", "heard patch+2"}, want: tried},
		{name: "who has no pods any more has no say", words: []string{"patch-1 route-1", "heard patch+1"}},
		{name: "unless nobody has any", words: []string{"patch-1 route-1", ""}, want: refused + "; HTTPRoute/shop/route: no"},
		{name: "nor has its acceptance", words: []string{"patch+1", "heard"}, want: tried},
		{name: "unless nobody has any, again", words: []string{"patch+1", ""}, unready: true},
		{name: "a route is refused at another", words: []string{"heard patch+1", "heard patch+1 route-1"}, want: "HTTPRoute/shop/route: no"},
		{name: "an older version of a route was", words: []string{"heard patch+1", "heard patch+1 route-0"}, want: "wait HTTPRoute/shop/route: no word yet on this version; of another: no"},
		{name: "no object is to blame", words: []string{"patch+1", "heard patch+1 -"}, want: "//: no"},
		{name: "the pods have just moved", before: []string{"heard patch+1"}, words: []string{"", "heard"}},
		{name: "they are nowhere", before: []string{"heard patch+1"}, words: []string{"", ""}, unready: true},
		{name: "they are nowhere, and it was refused", before: []string{"heard patch-1 route-1"}, words: []string{""}, want: refused + "; HTTPRoute/shop/route: no"},
		{name: "it is accepted where they came to", before: []string{"heard patch-1 route-1"}, words: []string{"heard patch+1"}},
		{name: "it is refused where they came to", before: []string{"heard patch+1"}, words: []string{"heard patch-1"}, want: refused},
		{name: "meanwhile it has changed", before: []string{"heard patch+1 route-1"}, words: []string{""}, version: "2", want: tried},
		{name: "it is gone", before: []string{"heard patch+1 route-1"}, words: []string{"heard route-1 patch-1"}, version: " "},
	} {
		version := strings.TrimSpace(c.version)
		if c.version == "" {
			version = "1"
		}
		objects := now(version, !c.unready)
		if version == "" {
			objects.Patches = nil
		}
		before := Outcome{}
		if c.before != nil {
			before = Merge(all(c.before), now("1", true), before)
		}
		got := Merge(all(c.words), objects, before)
		if text(got) != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, text(got), c.want)
		}
		words := all(c.words)
		slices.Reverse(words)
		if text(Merge(words, objects, before)) != c.want {
			t.Errorf("%s: the order of the replicas matters", c.name)
		}
	}
}

func all(short []string) (out []Word) {
	for _, s := range short {
		out = append(out, said(s))
	}
	return out
}

// What is passed on is bounded; what matters most goes first, and what is left out is told.
func TestEncodeIsBounded(t *testing.T) {
	words := func(refused, accepted int, said string) map[string]Word {
		w := Word{Heard: true}
		for i := range refused {
			w.Refused = append(w.Refused, Verdict{Source: translate.Source{Kind: "HTTPRoute", Namespace: "shop", Name: fmt.Sprint("r", i)}, Version: "0123456789abcdef", Words: said})
		}
		for i := range accepted {
			w.Accepted = append(w.Accepted, Verdict{Source: translate.Source{Kind: translate.KindPatch, Namespace: "shop", Name: fmt.Sprint("p", i)}, Version: "0123456789abcdef"})
		}
		return map[string]Word{"shop/way": w, "shop/other": {Heard: true}}
	}
	for _, c := range []struct {
		refused, accepted         int
		said                      string
		refusedLeft, acceptedLeft int
	}{
		{10, 10, "no", 10, 10},
		{200, 200, strings.Repeat("no ", 200), 200, 200},
		{200, 5000, strings.Repeat("no ", 200), 200, -1},
		{4000, 10, "no", -1, -1},
		{200, 200, strings.Repeat("\x00", 500), -1, -1}, // six times as long when it is written
	} {
		in := words(c.refused, c.accepted, c.said)
		text := Encode(in)
		if len(text) > maxBytes {
			t.Errorf("%.30v: %d bytes", c, len(text))
		}
		out, err := Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		w := out["shop/way"]
		if c.refusedLeft >= 0 && len(w.Refused) != c.refusedLeft || c.acceptedLeft >= 0 && len(w.Accepted) != c.acceptedLeft {
			t.Errorf("%.30v: %d refusals and %d acceptances are left", c, len(w.Refused), len(w.Accepted))
		}
		if left := len(w.Refused) + len(w.Accepted); left+w.Omitted != c.refused+c.accepted || len(text) < maxBytes*9/10 && w.Omitted > 0 {
			t.Errorf("%.30v: %d left, %d omitted", c, left, w.Omitted)
		}
		if c.refused == 10 && !w.Equal(in["shop/way"]) {
			t.Errorf("what has room has changed")
		}
		if o := Merge([]Word{w}, now("1", true), Outcome{}); w.Omitted > 0 != strings.Contains(strings.Join(messages(o), " "), fmt.Sprint(w.Omitted, " more verdicts")) {
			t.Errorf("%+v: it is not told that %d are left out", c, w.Omitted)
		}
	}
	if text := Encode(nil); text != "" {
		t.Errorf("of nothing there is %q", text)
	}
	if _, err := Decode("garbage"); err == nil {
		t.Error("garbage was read")
	}
}

func messages(o Outcome) (out []string) {
	for _, p := range o.Problems {
		out = append(out, p.Message)
	}
	return out
}
