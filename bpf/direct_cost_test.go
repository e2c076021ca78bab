package bpf

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/direct"
)

// The price of the direct path against bare pods of the same node, side by side and in turn:
// WFT_COST=rounds go test ./bpf -run TestDirectCost -v. It asserts nothing; the machine may be busy.
func TestDirectCost(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("WFT_COST"))
	if rounds == 0 {
		t.Skip("WFT_COST is not set")
	}
	l := newLab(t)
	l.addPod("p4", "10.77.0.14", "fd77::14")
	l.addPod("p5", "10.77.0.15", "fd77::15")
	l.hand = os.Getenv("WFT_COST_HAND") != ""
	for _, name := range []string{"p2", "p4"} {
		l.start("pump", l.pods[name].ns, "pod-"+name, nil, ":8080")
	}
	z := l.ztunnel()
	l.open()
	l.direct = true
	l.enrol(z, "p1", "p2")
	m := l.maps()
	must(t, m.Renew(time.Hour))
	l.permit(m, "p1", "p2", 8080)
	vip := netip.MustParseAddrPort("10.96.0.7:80")
	must(t, m.Publish(direct.VIPOf(l.pods["p1"].ns.Cookie(), vip), 1, []netip.AddrPort{l.pods["p2"].at(8080, false)}))
	paths := []struct {
		name, from string
		to         netip.AddrPort
	}{
		{"bare", "p5", l.pods["p4"].at(8080, false)},
		{"direct", "p1", l.pods["p2"].at(8080, false)},
		{"service", "p1", vip},
		{"bare again", "p5", l.pods["p4"].at(8080, false)},
	}
	got := map[string]map[string][]float64{}
	for i := range rounds {
		for j := range paths {
			p := paths[j]
			if i%2 == 1 {
				p = paths[len(paths)-1-j]
			}
			var conns, p50, bulk float64
			fmt.Sscan(l.run("load", l.pods[p.from].ns, "pod-"+p.from, p.to.String()), &conns, &p50, &bulk)
			for what, v := range map[string]float64{"conn/s": conns, "p50 µs": p50, "bulk Gbit/s": bulk} {
				if got[p.name] == nil {
					got[p.name] = map[string][]float64{}
				}
				got[p.name][what] = append(got[p.name][what], v)
			}
		}
	}
	for _, p := range paths[1:] {
		for _, what := range []string{"conn/s", "p50 µs", "bulk Gbit/s"} {
			var ratios []float64
			for i := range rounds {
				base := (got["bare"][what][i] + got["bare again"][what][i]) / 2
				ratios = append(ratios, got[p.name][what][i]/base)
			}
			slices.Sort(ratios)
			t.Logf("%-10s %-11s %.2f of bare (%.2f to %.2f), bare %.0f", p.name, what, ratios[rounds/2], ratios[rounds/4], ratios[3*rounds/4], got["bare"][what][0])
		}
	}
}

// rolePump: LISTEN echoes what comes, but a stream that begins with b, which it swallows.
func rolePump(args []string) error {
	li, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := li.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			b := make([]byte, 256<<10)
			for bulk := false; ; {
				n, err := c.Read(b)
				if err != nil {
					if bulk {
						c.Write([]byte("."))
					}
					return
				}
				bulk = bulk || b[0] == 'b'
				if !bulk {
					c.Write(b[:n])
				}
			}
		}()
	}
}

// roleLoad: DST prints connections a second, median round trip of 1 KiB in µs, and Gbit/s of one stream.
func roleLoad(args []string) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	d.SetMultipathTCP(false)
	one := make([]byte, 1024)
	const conns, trips, bytes = 2000, 4000, 512 << 20
	start := time.Now()
	for range conns {
		c, err := d.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		c.Write(one[:1])
		if _, err := io.ReadFull(c, one[:1]); err != nil {
			return err
		}
		c.Close()
	}
	rate := conns / time.Since(start).Seconds()
	c, err := d.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer c.Close()
	took := make([]time.Duration, trips)
	for i := range took {
		began := time.Now()
		c.Write(one)
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	b, err := d.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	defer b.Close()
	chunk := make([]byte, 256<<10)
	chunk[0] = 'b'
	start = time.Now()
	for sent := 0; sent < bytes; sent += len(chunk) {
		if _, err := b.Write(chunk); err != nil {
			return err
		}
	}
	b.(*net.TCPConn).CloseWrite()
	if _, err := io.ReadFull(b, one[:1]); err != nil {
		return err
	}
	fmt.Println(rate, float64(took[trips/2].Nanoseconds())/1000, 8*bytes/time.Since(start).Seconds()/1e9)
	return nil
}
