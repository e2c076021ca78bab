package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

var update = flag.Bool("update", false, "rewrite expected files")

var entry = []byte(`{"type":"weft-cni","socket":"/var/run/weft/cni.sock"}`)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Each shape is chained as its golden file says, and comes back to the byte.
func TestGolden(t *testing.T) {
	files := slices.DeleteFunc(must(filepath.Glob("testdata/*.conf*"))(t), func(f string) bool { return filepath.Ext(f) == ".golden" })
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text := must(os.ReadFile(file))(t)
			list := text
			if !isList(file) {
				list = must(convert(text))(t)
			}
			got := must(chain(list, entry))(t)
			golden := file + ".golden"
			if *update {
				must(0, os.WriteFile(golden, got, 0o644))(t)
			}
			if want := must(os.ReadFile(golden))(t); !bytes.Equal(got, want) {
				t.Errorf("chained:\n%s\nwant:\n%s", got, want)
			}
			if again := must(chain(got, entry))(t); !bytes.Equal(again, got) {
				t.Errorf("chained twice:\n%s", again)
			}
			back := must(unchain(got))(t)
			if want := must(unchain(list))(t); !bytes.Equal(back, want) {
				t.Errorf("came back as:\n%s", back)
			}
			understood(t, list, got)
		})
	}
}

// understood compares what the runtimes' library reads in both.
func understood(t *testing.T, before, after []byte) {
	t.Helper()
	types := func(text []byte) (types []string, rest map[string]any) {
		l := must(libcni.NetworkConfFromBytes(text))(t)
		for _, p := range l.Plugins {
			types = append(types, p.Network.Type)
		}
		must(0, json.Unmarshal(text, &rest))(t)
		delete(rest, "plugins")
		return types, rest
	}
	was, wasRest := types(before)
	is, isRest := types(after)
	others := slices.DeleteFunc(slices.Clone(is), func(s string) bool { return s == "weft-cni" })
	was = slices.DeleteFunc(was, func(s string) bool { return s == "weft-cni" })
	if !slices.Equal(was, others) || len(is) != len(others)+1 || is[0] == "weft-cni" || !reflect.DeepEqual(wasRest, isRest) {
		t.Errorf("plugins %q became %q; %v became %v", was, is, wasRest, isRest)
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{
		"", " ", "{", "[]", "null", `"x"`, `{"name":"n"}`, `{"name":"n","plugins":[]}`, `{"name":"n","plugins":{}}`, `{"name":"n","plugins":"x"}`,
		`{"name":"n","plugins":[{}]}`, `{"name":"n","plugins":[{"type":1}]}`, `{"name":"n","plugins":[1]}`, `{"plugins":[{"type":"x"}]}`,
		`{"name":"n","plugins":[{"type":"x"}]}}`, `{"name":"n","plugins":[{"type":"x"}],}`, "\ufeff" + `{"name":"n","plugins":[{"type":"x"}]}`,
		`{"name":"n","plugins":[{"type":"x"},]}`, `{"name":"n","plugins":[{"type":"weft-cni"}]}`,
	} {
		if got, err := chain([]byte(text), entry); !errors.Is(err, errMalformed) {
			t.Errorf("chain %s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "{}", `{"name":"n"}`, `{"type":"x"}`, `{"name":"n","plugins":[{"type":"x"}]}`, "[]"} {
		if got, err := convert([]byte(text)); !errors.Is(err, errMalformed) {
			t.Errorf("convert %s: %s %v", text, got, err)
		}
	}
}

// Whatever is well formed takes the entry, loses nothing, and comes back to the byte.
func FuzzChain(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.conf*")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"plugins":[{"type":"a"}],"name":"n","plugins":[{"type":"b"},{"type":"weft-cni"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		clean, err := unchain(text)
		if err != nil {
			return
		}
		got, err := chain(clean, entry)
		if err != nil {
			return // nothing but our own entries
		}
		if back := must(unchain(got))(t); !bytes.Equal(back, clean) {
			t.Fatalf("%q became %q", clean, back)
		}
		if _, err := libcni.NetworkConfFromBytes(clean); err == nil {
			understood(t, clean, got)
		}
		direct := must(chain(text, entry))(t)
		if ps := must(parseList(direct))(t); ps[0].ours() || !bytes.Contains(direct, entry) {
			t.Fatalf("%q", direct)
		}
	})
}
