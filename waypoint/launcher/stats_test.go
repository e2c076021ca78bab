package launcher

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// Envoy's own metrics are to be had at the port of ours, and nothing else of its admin page is.
func TestEnvoysStatistics(t *testing.T) {
	w := start(t, nil)
	w.waitReady()
	get := func(path string) (int, string) {
		res, err := http.Get("http://" + w.meter + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	testmesh.Eventually(t, 20*time.Second, "Envoy's metrics", func() error {
		code, body := get("/stats/prometheus?filter=server.live")
		if code != http.StatusOK || !strings.Contains(body, "envoy_server_live") || strings.Contains(body, "envoy_server_uptime") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	for _, path := range []string{"/config_dump", "/quitquitquit", "/stats", "/stats/prometheus/../../config_dump"} {
		if code, _ := get(path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	res, err := http.Post("http://"+w.meter+"/stats/prometheus", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", res.StatusCode)
	}
}
