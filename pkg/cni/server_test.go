package cni

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type handler struct {
	add func(context.Context, Pod) error
	del func(context.Context, Pod) error
}

func (h handler) Add(ctx context.Context, p Pod) error   { return h.add(ctx, p) }
func (h handler) Del(ctx context.Context, p Pod) error   { return h.del(ctx, p) }
func (h handler) Check(ctx context.Context, p Pod) error { return h.add(ctx, p) }

var pod = Pod{Namespace: "shop", Name: "cart", UID: "u1", Netns: "/proc/self/ns/net", ContainerID: "c1",
	Addresses: []netip.Addr{netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::3")}, Interface: "eth0"}

// serve runs a Server until the returned function is called.
func serve(t *testing.T, path string, h Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&Server{Path: path, Handler: h}).Run(ctx) }()
	for {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	var once atomic.Bool
	stop = func() {
		if once.Swap(true) {
			return
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func socket(t *testing.T) string { return filepath.Join(t.TempDir(), "cni.sock") }

func TestCalls(t *testing.T) {
	path := socket(t)
	var got []Pod
	serve(t, path, handler{
		add: func(_ context.Context, p Pod) error {
			// What we are given leads to the plugin's namespace, which is our own here.
			want, err1 := os.Stat("/proc/self/ns/net")
			have, err2 := os.Stat(p.Netns)
			if err1 != nil || err2 != nil || !os.SameFile(want, have) || p.Netns == pod.Netns {
				t.Errorf("namespace %s: %v %v", p.Netns, err1, err2)
			}
			p.Netns = pod.Netns
			got = append(got, p)
			return nil
		},
		del: func(_ context.Context, p Pod) error {
			got = append(got, p)
			return errors.New("no such pod; start it first")
		},
	})
	c := Client{Path: path}
	ctx := context.Background()
	for _, f := range []func(context.Context, Pod) error{c.Add, c.Check} {
		if err := f(ctx, pod); err != nil {
			t.Fatal(err)
		}
	}
	gone := pod
	gone.Netns = "/run/netns/of-a-pod-that-is-gone"
	if err := c.Del(ctx, gone); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "start it first") {
		t.Fatalf("del: %v", err)
	}
	gone.Netns = ""
	if want := []Pod{pod, pod, gone}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	file := pod
	file.Netns = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file.Netns, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Add(ctx, file); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not a network namespace") {
		t.Errorf("a file in place of a namespace: %v", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", fi, err)
	}
}

func TestAgentIsAway(t *testing.T) {
	path := socket(t)
	c, ctx := Client{Path: path}, context.Background()
	if err := c.Add(ctx, pod); !errors.Is(err, ErrAway) {
		t.Fatalf("no socket: %v", err)
	}
	// Dies in the middle of a call.
	entered := make(chan struct{})
	stop := serve(t, path, handler{add: func(ctx context.Context, _ Pod) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}})
	go func() {
		<-entered
		stop()
	}()
	if err := c.Add(ctx, pod); !errors.Is(err, ErrAway) && !errors.Is(err, ErrRefused) {
		t.Fatalf("agent ends: %v", err)
	}
	// A socket that a dead agent left behind is taken over.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	serve(t, path, handler{add: func(context.Context, Pod) error { return nil }})
	if err := c.Add(ctx, pod); err != nil {
		t.Fatal(err)
	}
	// One in use is not.
	if err := (&Server{Path: path, Handler: handler{}}).Run(ctx); !errors.Is(err, ErrInUse) {
		t.Errorf("second server: %v", err)
	}
}

// The agent's own reason reaches the plugin before the plugin gives up, and its waiting ends with the plugin.
func TestSlowAgent(t *testing.T) {
	path := socket(t)
	serve(t, path, handler{add: func(ctx context.Context, _ Pod) error {
		<-ctx.Done()
		return errors.New("waiting for a ztunnel")
	}})
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	if err := (Client{Path: path}).Add(ctx, pod); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "waiting for a ztunnel") {
		t.Errorf("%v", err)
	}
	l, err := net.Listen("unix", path+"2") // accepts and is silent
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := (Client{Path: path + "2"}).Add(ctx, pod); !errors.Is(err, ErrSlow) {
		t.Errorf("%v", err)
	}
}

func TestForeignVersion(t *testing.T) {
	path := socket(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go srv.Serve(l)
	defer srv.Close()
	if err := (Client{Path: path}).Add(context.Background(), pod); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "version") {
		t.Errorf("%v", err)
	}
}

func TestState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft", "state.json")
	if _, err := ReadState(path); err == nil {
		t.Error("absent, and no error")
	}
	want := map[string]Mode{"shop": Enrolled, "default": Plain, "web": Mixed}
	for range 2 {
		if err := WriteState(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ReadState(path); err != nil || !reflect.DeepEqual(s.Namespaces, want) {
		t.Errorf("%v %v", s, err)
	}
	for _, broken := range []string{"", "{", `{"version":2}`, "[]"} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := ReadState(path); err == nil || s.Namespaces != nil {
			t.Errorf("%q: %v %v", broken, s, err)
		}
	}
}
