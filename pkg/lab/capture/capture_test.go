package capture

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// segment is one TCP packet of a made-up capture.
type segment struct {
	from, to uint16 // ports; the lower one is on host b
	seq      uint32
	syn      bool
	v6       bool
	data     string
}

func frames(t *testing.T, segs ...segment) []Frame {
	t.Helper()
	var out []Frame
	for _, s := range segs {
		a, b := net.IP{10, 0, 0, 1}, net.IP{10, 0, 0, 2}
		if s.v6 {
			a, b = net.ParseIP("fd00::1"), net.ParseIP("fd00::2")
		}
		if s.from < s.to {
			a, b = b, a
		}
		tcp := &layers.TCP{SrcPort: layers.TCPPort(s.from), DstPort: layers.TCPPort(s.to), Seq: s.seq, SYN: s.syn, ACK: !s.syn}
		eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
		var ip gopacket.SerializableLayer
		if s.v6 {
			eth.EthernetType = layers.EthernetTypeIPv6
			l := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, HopLimit: 64, SrcIP: a, DstIP: b}
			ip = l
			_ = tcp.SetNetworkLayerForChecksum(l)
		} else {
			l := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: a, DstIP: b}
			ip = l
			_ = tcp.SetNetworkLayerForChecksum(l)
		}
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(s.data)); err != nil {
			t.Fatal(err)
		}
		out = append(out, Frame{Data: buf.Bytes()})
	}
	return out
}

func record(kind byte, body string) string {
	return string([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
}

var question = Question{Markers: []string{"SECRET"}, Tunnel: 15008, Control: []uint16{15012}}

func TestAnalyseTLS(t *testing.T) {
	hello := record(22, "\x01hello")
	app := record(23, strings.Repeat("x", 300))
	r := Analyse(frames(t,
		segment{from: 40000, to: 15008, seq: 99, syn: true},
		segment{from: 40000, to: 15008, seq: 100, data: hello + app[:4]},
		segment{from: 40000, to: 15008, seq: 100, data: hello + app[:4]}, // again
		segment{from: 40000, to: 15008, seq: 104 + uint32(len(hello)), data: app[4:200]},
		segment{from: 40000, to: 15008, seq: 300 + uint32(len(hello)), data: app[200:]},
		segment{from: 15008, to: 40000, seq: 5, data: "under way, nothing can be said"},
		segment{from: 40001, to: 15012, seq: 1, data: "control"},
	), question)
	if r.Hellos != 1 || len(r.NotTLS) != 0 || r.Other.Packets != 0 || r.Control.Packets != 1 || len(r.Clear) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAnalyseFindsWhatIsNotTLS(t *testing.T) {
	for name, data := range map[string]string{
		"http":              "GET / HTTP/1.1\r\n",
		"wrong version":     string([]byte{22, 4, 0, 0, 1, 1}),
		"text after record": record(22, "\x01hello") + "GET / HTTP/1.1",
		"record too long":   string([]byte{23, 3, 3, 0xff, 0xff}),
	} {
		r := Analyse(frames(t, segment{from: 40000, to: 15008, seq: 99, syn: true}, segment{from: 40000, to: 15008, seq: 100, data: data}), question)
		if len(r.NotTLS) != 1 {
			t.Errorf("%s: passed as TLS", name)
		}
	}
}

func TestAnalyseFindsMarkers(t *testing.T) {
	for name, c := range map[string]struct {
		segs  []segment
		clear int
	}{
		"one packet":      {[]segment{{from: 40000, to: 8080, data: "a SECRET b"}}, 1},
		"v6":              {[]segment{{from: 40000, to: 8080, v6: true, data: "a SECRET b"}}, 1},
		"across packets":  {[]segment{{from: 40000, to: 8080, data: "a SEC"}, {from: 40000, to: 8080, seq: 5, data: "RET b"}}, 1},
		"other direction": {[]segment{{from: 40000, to: 8080, data: "a SEC"}, {from: 8080, to: 40000, data: "RET b"}}, 0},
		"counted once":    {[]segment{{from: 40000, to: 8080, data: "SECRET"}, {from: 40000, to: 8080, seq: 6, data: "more"}}, 1},
		"inside the port": {[]segment{{from: 40000, to: 15008, data: "SECRET"}}, 1},
		"nothing of it":   {[]segment{{from: 40000, to: 8080, data: "nothing"}}, 0},
	} {
		r := Analyse(frames(t, c.segs...), question)
		if len(r.Clear) != c.clear {
			t.Errorf("%s: seen %d times, want %d", name, len(r.Clear), c.clear)
		}
	}
	r := Analyse(frames(t, segment{from: 40000, to: 8080, data: "x"}, segment{from: 8080, to: 40000, data: "yy"}), question)
	if r.Other.Packets != 2 || r.Other.Flows["10.0.0.1 → 10.0.0.2:8080"] != 3 {
		t.Errorf("other traffic: %+v", r.Other)
	}
}

func TestAnalyseSearchesWhatIsNotTCP(t *testing.T) {
	r := Analyse([]Frame{{Data: []byte("some frame with SECRET in it")}}, question)
	if len(r.Clear) != 1 {
		t.Error("a marker outside of TCP was overlooked")
	}
}

// A real socket on loopback: what is sent is what is captured.
func TestStartCapturesLoopback(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI has to run as root")
		}
		t.Skip("needs root")
	}
	c, err := Start("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("the SECRET of this test")); err != nil {
		t.Fatal(err)
	}
	got, err := c.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if r := Analyse(got, question); len(r.Clear) == 0 || r.UDP == 0 {
		t.Errorf("%d frames, the datagram is not among them", len(got))
	}
	file := filepath.Join(t.TempDir(), "a.pcap")
	if err := WriteFile(file, got); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() < 24 {
		t.Errorf("pcap file: %v", err)
	}
	if _, err := Start("no-such-link"); err == nil {
		t.Error("a capture on a link that does not exist began")
	}
}
