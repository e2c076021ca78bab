package controller_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
)

// What asks for tokens and cannot be read believes nobody's.
func TestUnreadRequestAuthenticationRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	text := `apiVersion: weft.dev/v1alpha1
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  providers: [{isuer: https://idp.example}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(source.Options{Dirs: append(shopWithWaypoint(t), file)})
	if err != nil {
		t.Fatal(err)
	}
	objects, _ := src.Load()
	snap, statuses := controller.Compile(objects, controller.Config{})
	for i := range statuses {
		if s := &statuses[i]; s.Kind == "RequestAuthentication" {
			if c := s.Condition("Accepted"); c == nil || c.Reason != "Unreadable" {
				t.Errorf("Accepted: %+v", c)
			}
		}
	}
	for _, a := range snap.Attachments {
		if r := a.Authentication; r != nil {
			if !r.Required || len(r.Providers) != 1 || r.Providers[0].Keys != "" {
				t.Errorf("%+v", r)
			}
			return
		}
	}
	t.Error("nothing is attached: requests without a token pass")
}
