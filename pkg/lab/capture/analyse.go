package capture

import (
	"bytes"
	"fmt"
	"net/netip"
	"sort"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Question says what to look for.
type Question struct {
	Markers []string // texts that only clear text holds
	Tunnel  uint16   // TCP port where everything has to be TLS
	Control []uint16 // TCP ports of the control plane, counted apart
}

// Report is what a capture held.
type Report struct {
	Frames  int
	Tunnel  Traffic // to and from the tunnel's port
	Control Traffic // to and from the control plane's ports
	Other   Traffic // every other TCP
	UDP     int     // datagrams
	// Hellos counts TLS ClientHellos toward the tunnel's port: connections that began in the capture.
	Hellos int
	// NotTLS holds connections to the tunnel's port whose bytes are no TLS records.
	NotTLS []string
	// Clear lists where markers were seen.
	Clear []Sighting
}

// Traffic counts TCP packets and the bytes that they carried.
type Traffic struct {
	Packets int
	Bytes   int
	Flows   map[string]int // payload bytes by "from → to" without the ephemeral port
}

// Sighting is one marker in one packet.
type Sighting struct {
	Flow    string // from → to
	Marker  string
	Excerpt string // the text around it, unprintable bytes as dots
}

// flowState follows the bytes of one direction of a connection.
type flowState struct {
	tail []byte // the last bytes, for markers that lie across packets
	tls  tlsWalk
}

// Analyse reads the frames in order; pure.
func Analyse(frames []Frame, q Question) Report {
	r := Report{Frames: len(frames)}
	flows := map[string]*flowState{}
	for _, f := range frames {
		pkt := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true, Lazy: true})
		if pkt.Layer(layers.LayerTypeUDP) != nil {
			r.UDP++
		}
		tcp, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ok {
			r.tcp(pkt, tcp, flows, q)
		} else {
			r.search("not TCP", nil, f.Data, q)
		}
	}
	sort.Strings(r.NotTLS)
	return r
}

func (r *Report) tcp(pkt gopacket.Packet, tcp *layers.TCP, flows map[string]*flowState, q Question) {
	src, dst := addresses(pkt, tcp)
	key := src.String() + " → " + dst.String()
	fs := flows[key]
	if fs == nil || tcp.SYN {
		fs = &flowState{tls: tlsWalk{begun: tcp.SYN}}
		flows[key] = fs
	}
	payload := tcp.Payload
	r.classify(src, dst, q).count(src, dst, len(payload))
	if len(payload) == 0 {
		return
	}
	if src.Port() == q.Tunnel || dst.Port() == q.Tunnel {
		hellos := fs.tls.hellos
		if !fs.tls.feed(tcp.Seq, payload) && !contains(r.NotTLS, key) {
			r.NotTLS = append(r.NotTLS, key)
		}
		r.Hellos += fs.tls.hellos - hellos
	}
	r.search(key, fs.tail, payload, q)
	fs.tail = keep(fs.tail, payload, 256)
}

// addresses returns a packet's ends.
func addresses(pkt gopacket.Packet, tcp *layers.TCP) (src, dst netip.AddrPort) {
	var s, d netip.Addr
	switch ip := pkt.NetworkLayer().(type) {
	case *layers.IPv4:
		s, _ = netip.AddrFromSlice(ip.SrcIP.To4())
		d, _ = netip.AddrFromSlice(ip.DstIP.To4())
	case *layers.IPv6:
		s, _ = netip.AddrFromSlice(ip.SrcIP)
		d, _ = netip.AddrFromSlice(ip.DstIP)
	}
	return netip.AddrPortFrom(s, uint16(tcp.SrcPort)), netip.AddrPortFrom(d, uint16(tcp.DstPort))
}

func (r *Report) classify(src, dst netip.AddrPort, q Question) *Traffic {
	if src.Port() == q.Tunnel || dst.Port() == q.Tunnel {
		return &r.Tunnel
	}
	for _, p := range q.Control {
		if src.Port() == p || dst.Port() == p {
			return &r.Control
		}
	}
	return &r.Other
}

// count adds a packet, under the direction client → server (the lower port is the server's).
func (t *Traffic) count(src, dst netip.AddrPort, bytes int) {
	if t.Flows == nil {
		t.Flows = map[string]int{}
	}
	t.Packets++
	t.Bytes += bytes
	if src.Port() < dst.Port() {
		src, dst = dst, src
	}
	t.Flows[fmt.Sprintf("%s → %s", src.Addr(), dst)] += bytes
}

// search looks for markers in the new bytes and across the border to those before.
func (r *Report) search(flow string, tail, data []byte, q Question) {
	both := append(append([]byte(nil), tail...), data...)
	for _, m := range q.Markers {
		from := max(0, len(tail)-len(m)+1) // what lies wholly in the tail was seen already
		if i := bytes.Index(both[from:], []byte(m)); i >= 0 {
			r.Clear = append(r.Clear, Sighting{Flow: flow, Marker: m, Excerpt: excerpt(both, from+i, len(m))})
		}
	}
}

func keep(tail, data []byte, n int) []byte {
	both := append(tail, data...)
	return append([]byte(nil), both[max(0, len(both)-n):]...)
}

func excerpt(data []byte, at, n int) string {
	from, to := max(0, at-24), min(len(data), at+n+16)
	return strings.Map(func(c rune) rune {
		if c < 32 || c > 126 {
			return '.'
		}
		return c
	}, string(data[from:to]))
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
