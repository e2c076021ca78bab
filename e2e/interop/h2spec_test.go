package interop

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// Cases of h2spec that do not apply to a server that speaks CONNECT only, and why. h2spec sends GET, which
// is answered by 400 and the end of the stream: a fine subject for most of its cases.
var h2specSkipped = map[string]string{
	"generic/2/2":     "waits for a body in the answer to its GET; a 400 of ours has none",
	"generic/2/3":     "waits for a body in the answer to its GET; a 400 of ours has none",
	"generic/5/14":    "sets its header table to a size above the 0 that we advertise, which RFC 7541, 4.2 has us refuse",
	"generic/5/15":    "sets its header table to a size above the 0 that we advertise, which RFC 7541, 4.2 has us refuse",
	"http2/4.2/3":     "takes 16 KiB to be too long for a HEADERS frame; we advertise MAX_FRAME_SIZE 1 MiB",
	"http2/6.9/2":     "speaks of a stream that our 400 has ended already",
	"http2/6.9.1/3":   "speaks of a stream that our 400 has ended already",
	"http2/6.10/1":    "uses a header table although we advertise size 0",
	"http2/8.1.2.6/1": "a body that nobody reads: GET is answered by 400 before it comes",
	"http2/8.1.2.6/2": "a body that nobody reads: GET is answered by 400 before it comes",
}

// TestH2Spec runs the conformance suite h2spec against our server: its generic, HTTP/2 and HPACK cases.
func TestH2Spec(t *testing.T) {
	m := newMesh(t)
	_, cert, key := m.files()
	host, port, err := net.SplitHostPort(m.addr)
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	c := &config.Config{Host: host, Port: n, Path: "/", Timeout: 20 * time.Second, MaxHeaderLen: 4000, Strict: true, TLS: true, Insecure: true, CertFile: cert, CertKeyFile: key}
	passed := 0
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		passed += runGroup(t, c, g)
	}
	if passed < 125 {
		t.Errorf("only %d cases passed: were they run?", passed)
	}
}

func runGroup(t *testing.T, c *config.Config, g *spec.TestGroup) (passed int) {
	for i, tc := range append(g.Tests, g.StrictTests...) {
		id := fmt.Sprintf("%s/%d", g.ID(), i+1)
		t.Run(id, func(t *testing.T) {
			if why, ok := h2specSkipped[id]; ok {
				t.Skip(why)
			}
			if err := tc.Test(c, i+1); err != nil {
				t.Fatal(err)
			}
			r := tc.Result
			switch {
			case r == nil:
				t.Skip("not run by h2spec")
			case r.Skipped:
				t.Skip("skipped by h2spec")
			case r.Failed:
				t.Errorf("%s\n%v", tc.Desc, r.Error)
			default:
				passed++
			}
		})
	}
	for _, sub := range g.Groups {
		passed += runGroup(t, c, sub)
	}
	return passed
}
