package interop

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/weftmesh/weft/pkg/hbone"
)

// driver of our tunnels under test; shards is it, nil with crypto/tls.
var (
	driver string
	shards *hbone.Shards
)

// TestMain runs all tests on both drivers of tunnels; WEFT_TUNNEL_TLS picks one.
func TestMain(m *testing.M) {
	for _, driver = range []string{"stdlib", "records"} {
		if only := os.Getenv("WEFT_TUNNEL_TLS"); only != "" && only != driver {
			continue
		}
		fmt.Println("driver:", driver)
		if driver == "records" {
			runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 4))
			var err error
			if shards, err = hbone.NewShards(hbone.ShardsOptions{Count: 2}); err != nil {
				panic(err)
			}
		}
		code := m.Run()
		if shards != nil {
			shards.Close() // waits for ever if a connection was left
		}
		if code != 0 {
			os.Exit(code)
		}
	}
}

// noTunnels skips a test, in which no tunnel is made, on all drivers but one.
func noTunnels(t *testing.T) {
	t.Helper()
	if driver != "stdlib" {
		t.Skip("makes no tunnels")
	}
}
