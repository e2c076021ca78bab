package enroll

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// server answers patches of pods/status as an API server does.
type server struct {
	t *testing.T

	mu      sync.Mutex        // protects what follows
	uids    map[string]string // of pods, by namespace/name
	notes   map[string]string // value of the annotation
	patches int
	status  int // to answer instead
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patches++
	var body struct {
		Metadata struct {
			UID         string
			Annotations map[string]*string
		}
	}
	b, _ := io.ReadAll(r.Body)
	part := strings.Split(r.URL.Path, "/") // "", api, v1, namespaces, NS, pods, NAME, status
	if err := json.Unmarshal(b, &body); err != nil || len(part) != 8 || part[7] != "status" ||
		r.Method != http.MethodPatch || r.Header.Get("Content-Type") != "application/merge-patch+json" {
		s.t.Errorf("%s %s %s %v", r.Method, r.URL.Path, r.Header.Get("Content-Type"), err)
	}
	answer := func(code int, reason string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code})
	}
	key := part[4] + "/" + part[6]
	switch uid, ok := s.uids[key]; {
	case s.status != 0:
		answer(s.status, "InternalError")
	case !ok:
		answer(http.StatusNotFound, "NotFound")
	case body.Metadata.UID != uid:
		answer(http.StatusConflict, "Conflict")
	default:
		for _, v := range body.Metadata.Annotations {
			delete(s.notes, key)
			if v != nil {
				s.notes[key] = *v
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Pod","apiVersion":"v1"}`)
	}
}

func TestKubeStatus(t *testing.T) {
	s := &server{t: t, uids: map[string]string{"shop/a": "u1", "shop/old": "u7"}, notes: map[string]string{"shop/old": "enabled"}}
	web := httptest.NewServer(s)
	defer web.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: web.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]Pod{"u1": {UID: "u1", Namespace: "shop", Name: "a"}, "u7": {UID: "u7", Namespace: "shop", Name: "old"}}
	announced := map[string]bool{"u7": true}
	find := func(uid string) (Pod, bool, bool) { p, ok := seen[uid]; return p, announced[uid], ok }
	k := NewKubeStatus(client.CoreV1(), find)
	expect := func(what string, err error, patches int, want map[string]string) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil || s.patches != patches || !maps.Equal(s.notes, want) {
			t.Errorf("%s: %v, %d patches (want %d), %v", what, err, s.patches, patches, s.notes)
		}
		s.patches = 0
	}
	a, old := seen["u1"], seen["u7"]
	both, one := map[string]string{"shop/a": "enabled", "shop/old": "enabled"}, map[string]string{"shop/old": "enabled"}
	expect("announced", k.Announce(a), 1, both)
	expect("announced by a predecessor", k.Announce(old), 0, both)
	expect("withdrawn", k.Withdraw("u1"), 1, one)
	announced["u1"] = true // what is seen may lag
	expect("announced again", k.Announce(a), 1, both)
	expect("a predecessor's withdrawn", k.Withdraw("u7"), 1, map[string]string{"shop/a": "enabled"})
	expect("and announced again while it is still seen", k.Announce(old), 1, both)
	expect("nobody's", k.Withdraw("u99"), 0, both)

	// Made anew under the same name: the former one's end is not the new one's.
	s.uids["shop/a"] = "u2"
	expect("another pod of that name", k.Withdraw("u1"), 1, both)
	if err := k.Announce(a); err == nil {
		t.Error("announced a pod that is gone")
	}
	delete(s.uids, "shop/old")
	expect("gone", k.Withdraw("u7"), 2, both)
	s.status = http.StatusInternalServerError
	if err := k.Withdraw("u1"); err == nil {
		t.Error("the server is in trouble, and nobody says so")
	}
}
