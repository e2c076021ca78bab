package policy

import (
	"regexp"
	"testing"
)

func TestPathPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		strict, loose bool
	}{
		{"/admin", "/admin", true, true},
		{"/admin", "/ADMIN", false, true},
		{"/admin", "/admin/", false, true},
		{"/admin", "/admin;a=b", false, true},
		{"/admin", "/admin%3Bx", false, true},
		{"/admin", "/admin;a=b/", false, true},
		{"/admin", "/admin/x", false, false},
		{"/admin", "/administrator", false, false},
		{"/admin", "/x/admin", false, false},
		{"/a.b", "/axb", false, false},
		{"/", "/", true, true},
		{"/", "/;x", false, true},
		{"/", "/x", false, false},
		{"/admin/*", "/admin/x/y", true, true},
		{"/admin/*", "/admin;v=1/x", false, true},
		{"/admin/*", "/Admin/", false, true},
		{"/admin/*", "/admin", false, false},
		{"*.php", "/x/y.php", true, true},
		{"*.php", "/x/y.PHP;z", false, true},
		{"*", "/", true, true},
		{"/v1/{id}/items", "/v1/7/items", true, true},
		{"/v1/{id}/items", "/v1/7;a/ITEMS", false, true},
		{"/v1/{id}/items", "/v1/7/8/items", false, false},
		{"/v1/{id}/items", "/v1//items", false, false},
		{"/v1/{id}/items", "/v1/7/items/", false, true},
		{"/v1/{*}", "/v1/7", true, true},
		{"/v1/{*}", "/v1/", false, false},
		{"/v1/{**}", "/v1", true, true},
		{"/v1/{**}", "/v1/", true, true},
		{"/v1/{**}", "/v1/a/b", true, true},
		{"/v1/{**}", "/v1;a/b", false, true},
		{"/v1/{**}", "/v10", false, false},
		{"/{tenant}/{**}", "/acme/x", true, true},
		{"/{tenant}/{**}", "/", false, false},
	} {
		for _, loose := range []bool{false, true} {
			want := tc.strict
			if loose {
				want = tc.loose
			}
			re := regexp.MustCompile("^(?:" + PathPattern(ParsePath(tc.pattern), loose) + ")$")
			if got := re.MatchString(tc.path); got != want {
				t.Errorf("%s on %s, loose %v: %v by %s", tc.pattern, tc.path, loose, got, re)
			}
		}
	}
}

func TestAmbiguous(t *testing.T) {
	re := regexp.MustCompile("^(?:" + Ambiguous + ")$")
	for path, want := range map[string]bool{
		"/a/..;/b": true, "/a/..%3b/b": true, "/.;x": true, "/a/%2E%2e;/b": true, "/%c0%ae%c0%ae/b": true, "/%zz": true, "/x%": true, "/x%4": true, "/%4/x": true,
		"/a": false, "/a/b;c=d": false, "/..a;b": false, "/a%20b": false, "/a%25": false, "/%E4%B8%AD": false, "/.well-known/x": false, "/a.;b": false,
	} {
		if re.MatchString(path) != want {
			t.Errorf("%s: want %v", path, want)
		}
	}
}

// A loose pattern matches whatever the strict one does.
func FuzzLooseContainsStrict(f *testing.F) {
	f.Add("/v1/{id}/{**}", "/v1/a/b")
	f.Add("/a*", "/ab")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		m := ParsePath(pattern)
		strict, err := regexp.Compile("^(?:" + PathPattern(m, false) + ")$")
		if err != nil {
			t.Skip()
		}
		loose, err := regexp.Compile("^(?:" + PathPattern(m, true) + ")$")
		if err != nil {
			t.Fatal(err)
		}
		if strict.MatchString(path) && !loose.MatchString(path) {
			t.Errorf("%q on %q: strict %s, loose %s", pattern, path, strict, loose)
		}
	})
}
