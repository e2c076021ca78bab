package modules

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var code = append([]byte(Magic), "\x01\x00\x00\x00 a module"...)

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// host serves modules by https, and as a registry.
type host struct {
	*httptest.Server
	down atomic.Bool
	asks atomic.Int32
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{}
	blobs, manifests := map[string][]byte{}, map[string][]byte{}
	add := func(tag, mediaType string, layer []byte) {
		blobs["sha256:"+sum(layer)] = layer
		m, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
			"config": map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:" + sum([]byte("{}")), "size": 2},
			"layers": []any{map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum(layer), "size": len(layer)}}})
		if err != nil {
			t.Fatal(err)
		}
		manifests[tag], manifests["sha256:"+sum(m)] = m, m
	}
	add("artifact", "application/wasm", code)
	add("image", "application/vnd.oci.image.layer.v1.tar+gzip", archive(t, "./plugin.wasm", code))
	add("empty", "application/vnd.oci.image.layer.v1.tar+gzip", archive(t, "readme", code))
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asks.Add(1)
		last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		var data []byte
		switch {
		case h.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case strings.HasPrefix(r.URL.Path, "/v2/team/mod/manifests/"):
			data = manifests[last]
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", "sha256:"+sum(data))
		case strings.HasPrefix(r.URL.Path, "/v2/team/mod/blobs/"):
			data = blobs[last]
		case last == "module.wasm":
			data = code
		case last == "text":
			data = []byte("not a module")
		case last == "large":
			data = append([]byte(Magic), make([]byte, MaxBytes)...)
		}
		if data == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(h.Close)
	return h
}

func archive(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(data)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFetch(t *testing.T) {
	h := newHost(t)
	registry := strings.TrimPrefix(h.URL, "https://")
	f := NewFetcher(Options{OnChange: func() {}, Client: h.Client()})
	defer f.Close()
	for _, c := range []struct {
		name, url, image, sum, fails string
	}{
		{name: "url", url: h.URL + "/module.wasm"},
		{name: "artifact", image: registry + "/team/mod:artifact"},
		{name: "image", image: registry + "/team/mod:image"},
		{name: "no such file", url: h.URL + "/none", fails: "404"},
		{name: "no module", url: h.URL + "/text", fails: "no WebAssembly"},
		{name: "too large", url: h.URL + "/large", fails: "larger than 8 MiB"},
		{name: "another", url: h.URL + "/module.wasm", sum: sum(nil), fails: "the SHA-256 of what is at " + h.URL + "/module.wasm is " + sum(code)},
		{name: "another image", image: registry + "/team/mod:artifact", sum: sum(nil), fails: "the SHA-256 of what is at"},
		{name: "no such tag", image: registry + "/team/mod:none", fails: "not found"},
		{name: "image without a module", image: registry + "/team/mod:empty", fails: "holds no module"},
		{name: "no registry", image: "127.0.0.1:1/team/mod:x", fails: "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := Location{URL: c.url, Image: c.image, SHA256: c.sum}
			if c.sum == "" {
				l.SHA256 = sum(code)
			}
			got, err := f.once(t.Context(), l)
			if c.fails == "" && (err != nil || !bytes.Equal(got, code)) {
				t.Errorf("%q, %v", got, err)
			}
			if c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("%v, want: %s", err, c.fails)
			}
		})
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: " + what)
		}
	}
}

// A module is fetched until it is there, and then never again. Its owner's former one is known meanwhile.
func TestFetcher(t *testing.T) {
	h := newHost(t)
	h.down.Store(true)
	var changes atomic.Int32
	wait := make(chan time.Time)
	f := NewFetcher(Options{OnChange: func() { changes.Add(1) }, Client: h.Client(), After: func(time.Duration) <-chan time.Time { return wait }})
	defer f.Close()
	good := Location{Owner: "shop/x", URL: h.URL + "/module.wasm", SHA256: sum(code)}
	f.Watch([]Location{good})
	eventually(t, "the failure is told", func() bool { return changes.Load() == 1 && strings.Contains(f.Known().States[good.ID()].Error, "503") })
	h.down.Store(false)
	wait <- time.Time{}
	eventually(t, "it is there", func() bool { return bytes.Equal(f.Known().States[good.ID()].Code, code) && changes.Load() == 2 })
	asks := h.asks.Load()
	f.Watch([]Location{good})
	next := Location{Owner: "shop/x", URL: h.URL + "/module.wasm", SHA256: sum(nil)}
	f.Watch([]Location{next})
	eventually(t, "the next one is no good", func() bool { return f.Known().States[next.ID()].Error != "" })
	if got := h.asks.Load(); got != asks+1 {
		t.Errorf("asked %d times more, want once, for the next", got-asks)
	}
	if k := f.Known(); !bytes.Equal(k.Former["shop/x"], code) || len(k.States) != 1 {
		t.Errorf("the former one is forgotten, or what nobody wants is not: %d states", len(k.States))
	}
	f.Watch(nil)
	if k := f.Known(); len(k.Former)+len(k.States) != 0 {
		t.Errorf("nobody wants anything, but there is %v", fmt.Sprint(k))
	}
}
