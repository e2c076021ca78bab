package upgrade

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
)

// usage is what a ztunnel holds.
type usage struct{ Descriptors, Goroutines, RSS int } // RSS in KiB

func (m *mesh) usage(node string, pid int) (u usage) {
	m.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must(m.t, err)
	u.Descriptors = len(fds)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(m.t, err)
	for line := range bytes.Lines(status) {
		_, _ = fmt.Sscanf(string(line), "VmRSS: %d kB", &u.RSS)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", m.l.ZtunnelSocket(node))
	}}}
	resp, err := c.Get("http://ztunnel/debug/pprof/goroutine?debug=1")
	must(m.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(m.t, err)
	_, err = fmt.Sscanf(string(b), "goroutine profile: total %d", &u.Goroutines)
	must(m.t, err)
	return u
}

// check compares with an earlier one, which carried as much. Some of it is of connections that come and go. A tunnel
// that was made while both ztunnels ran stays until it has been idle for long.
func (u usage) check(t *testing.T, first usage, upgrades int) {
	t.Helper()
	if u.Descriptors > first.Descriptors+30+upgrades || u.Goroutines > first.Goroutines+30+upgrades || u.RSS > 2*first.RSS {
		t.Errorf("it grows from upgrade to upgrade: %+v, at first %+v", u, first)
	}
}
