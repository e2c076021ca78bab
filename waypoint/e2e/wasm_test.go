package e2e

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// module is testdata/header.wat, made by `wat2wasm header.wat`.
func module(t *testing.T) []byte {
	t.Helper()
	code, err := os.ReadFile("testdata/header.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// A module sees requests and answers. One that crashes takes its own requests with it, or lets them pass, as it
// asks, and neither the other module nor other services.
func TestWasmExtension(t *testing.T) {
	m := newMesh(t)
	wasm := func(config string) *model.Wasm { return &model.Wasm{Code: module(t), Config: config} }
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	m.extension("first", &model.Extension{Priority: 1, Wasm: wasm("one")})
	m.extension("second", &model.Extension{Priority: 2, Wasm: wasm("two")})
	m.publish()
	m.answers(200, "X-Wasm", "two,one")
	if e := m.statusIs(200, m.http, "GET", "/"); len(e.Headers.Values("X-Wasm")) != 2 {
		t.Errorf("the application saw %v", e.Headers.Values("X-Wasm"))
	}
	m.extension("first", &model.Extension{Priority: 1, Wasm: wasm("crash")})
	m.publish()
	m.answers(503, "X-Wasm", "")
	m.statusIs(200, m.client.HTTP(t, "10.96.0.2:80"), "GET", "/")
	m.extension("first", &model.Extension{Priority: 1, Wasm: wasm("crash"), FailOpen: true})
	m.publish()
	m.answers(200, "X-Wasm", "two")
	m.extension("first", &model.Extension{Priority: 1, Wasm: wasm("outbound")}) // would be 503 if it might call
	m.publish()
	m.answers(200, "X-Wasm", "two,outbound")
	m.extension("first", &model.Extension{Priority: 1, Wasm: wasm("mended")})
	m.publish()
	m.answers(200, "X-Wasm", "two,mended")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// What is no module is refused by Envoy, and by that at its target alone.
func TestWasmRefused(t *testing.T) {
	m := newMeshIsolated(t)
	m.service("other", "10.96.0.2")
	m.pod("other", pods)
	m.extension("broken", &model.Extension{Wasm: &model.Wasm{Code: append([]byte("\x00asm\x01\x00\x00\x00"), 0xff, 0xff)}})
	m.publish()
	m.statusIs(500, m.http, "GET", "/")
	m.statusIs(200, m.client.HTTP(t, "10.96.0.2:80"), "GET", "/")
}

// A module that never comes back hangs one of Envoy's threads. Envoy is ended then, to be started anew by its launcher.
func TestWasmLoop(t *testing.T) {
	m := newMeshWith(t, func(e *testmesh.Envoy) { e.HangTime = 10 * time.Second })
	m.extension("loop", &model.Extension{Wasm: &model.Wasm{Code: module(t), Config: "loop"}})
	m.publish()
	testmesh.Eventually(t, time.Minute, "Envoy is ended", func() error {
		go func() { _, _, _, _ = ask(m.http, "GET", "/") }() // waits for an answer that does not come
		select {
		case <-m.envoy.Ended():
			return nil
		case <-time.After(200 * time.Millisecond):
			return errors.New("it goes on")
		}
	})
	if out := m.envoy.Output(); !strings.Contains(out, "Caught Aborted") {
		t.Errorf("Envoy ended otherwise: %s", out)
	}
}
