package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodPolicy = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {selector: {matchLabels: {app: pay}}, rules: [{}]}
`

// A policy that never was good is handed on by its target; a good version, older or of another file, is
// better than that.
func TestUnreadPolicies(t *testing.T) {
	broken := strings.ReplaceAll(goodPolicy, "rules", "ruls")
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(0, 0)
	d, err := Open(Options{Dirs: []string{dir}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, good, unread int) {
		t.Helper()
		d.Load()
		now = now.Add(time.Hour) // removals are believed after a moment
		objs, problems := d.Load()
		if len(objs.AuthorizationPolicies) != good || len(objs.Unread) != unread {
			t.Fatalf("%s: %d good and %d unread policies, want %d and %d; %v", what, len(objs.AuthorizationPolicies), len(objs.Unread), good, unread, problems)
		}
		for _, u := range objs.Unread {
			p := u.AuthorizationPolicy
			if p == nil || p.Namespace != "shop" || p.Name != "p" || p.Spec.Selector.MatchLabels["app"] != "pay" || !strings.Contains(u.Why, "ruls") || u.Origin.File == "" {
				t.Errorf("%s: %+v", what, u)
			}
		}
		if good+unread == 0 {
			return
		}
		if named := len(problems) > 0 && problems[0].Name == "p"; unread > 0 && (!named || problems[0].LastGood) {
			t.Errorf("%s: %v", what, problems)
		}
	}
	write("a.yaml", broken)
	expect("new and broken", 0, 1)
	write("a.yaml", goodPolicy)
	expect("corrected", 1, 0)
	write("a.yaml", broken)
	expect("broken again", 1, 0)
	write("a.yaml", "")
	expect("removed", 0, 0)
	write("a.yaml", broken)
	expect("broken anew", 0, 1)
	write("b.yaml", goodPolicy)
	expect("good in another file", 1, 0)
	write("b.yaml", broken)
	expect("the other broken as well", 1, 0)
	write("b.yaml", "")
	expect("the other removed", 0, 1)
	write("a.yaml", strings.ReplaceAll(broken, "selector", "selectors"))
	expect("an uncertain target", 0, 1) // the version before was certain
	write("a.yaml", "")
	expect("removed again", 0, 0)
	write("a.yaml", strings.ReplaceAll(broken, "selector", "selectors"))
	expect("new, of an uncertain target", 0, 0)
}

// A RequestAuthentication that never was good is handed on with its targets.
func TestUnreadRequestAuthentication(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	text := `apiVersion: weft.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  required: true
  providers: [{isuer: https://idp.example}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Open(Options{Dirs: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	objs, problems := d.Load()
	if len(objs.Unread) != 1 || len(objs.RequestAuthentications) != 0 || len(problems) == 0 {
		t.Fatalf("%+v %v", objs.Unread, problems)
	}
	u := objs.Unread[0]
	if u.Kind() != "RequestAuthentication" || u.RequestAuthentication.Spec.TargetRefs[0].Name != "cart" || u.Object().GetName() != "users" {
		t.Errorf("%+v", u)
	}
}
