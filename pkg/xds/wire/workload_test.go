package wire

import (
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/model"
)

// odd are encodings of workloads that another program may write, and that nobody should.
func odd(t testing.TB) map[string][]byte {
	t.Helper()
	encode := func(change func(*workloadapi.Workload)) []byte {
		a := EncodeWorkload(fullWorkload())
		change(a.GetWorkload())
		b, err := Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	raw := func(in ...[]byte) []byte {
		var w []byte
		for _, b := range in {
			w = append(w, b...)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, addressWorkload, protowire.BytesType), w)
	}
	str := func(n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
	}
	num := func(n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
	}
	uid := str(workloadUID, "u")
	entry := func(s ...string) []byte {
		var e []byte
		for i, v := range s {
			e = append(e, str(protowire.Number(i%2+1), v)...)
		}
		return str(workloadServices, string(e))
	}
	return map[string][]byte{
		"full":             encode(func(*workloadapi.Workload) {}),
		"without waypoint": encode(func(w *workloadapi.Workload) { w.Waypoint = nil }),
		"bare":             raw(uid),
		"no uid":           raw(str(workloadName, "n")),
		"legacy tunnel": encode(func(w *workloadapi.Workload) {
			w.Waypoint, w.TunnelProtocol = nil, workloadapi.TunnelProtocol_LEGACY_ISTIO_MTLS
		}),
		"unknown tunnel":      raw(uid, num(workloadTunnel, 77)),
		"tunnel of 33 bits":   raw(uid, num(workloadTunnel, 1<<32|1)),
		"network of 33 bits":  raw(uid, num(workloadNetworkMode, 1<<32|1), num(workloadStatus, 1<<32)),
		"capacity":            encode(func(w *workloadapi.Workload) { w.ApplicationTunnel = &workloadapi.ApplicationTunnel{Port: 1} }),
		"name twice":          raw(uid, str(workloadName, "a"), str(workloadName, "b")),
		"locality twice":      raw(uid, str(workloadLocality, string(str(localityRegion, "r"))), str(workloadLocality, string(str(localityZone, "z")))),
		"not UTF-8":           raw(uid, str(workloadNode, "\xff")),
		"zone not UTF-8":      raw(uid, str(workloadLocality, string(str(localityZone, "\xff")))),
		"policy not UTF-8":    raw(uid, str(workloadPolicy, "\xff")),
		"bad address":         raw(uid, str(workloadAddress, "123")),
		"mapped address":      raw(uid, str(workloadAddress, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x01")),
		"number as text":      raw(uid, str(workloadTunnel, "x")),
		"text as number":      raw(uid, num(workloadNode, 1)),
		"unknown field":       raw(uid, str(999, "x")),
		"cut":                 raw(uid, []byte{0xa2}),
		"uid twice":           raw(uid, str(workloadUID, "v")),
		"no ports":            raw(uid, entry("s", "")),
		"no value":            raw(uid, entry("s")),
		"empty entry":         raw(uid, entry()),
		"value twice":         raw(uid, entry("s", "", "t", string(str(portListPort, string(num(portService, 80)))))),
		"same service twice":  raw(uid, entry("s", ""), entry("s", string(str(portListPort, string(num(portService, 80)))))),
		"port too high":       raw(uid, entry("s", string(str(portListPort, string(num(portTarget, 1<<16)))))),
		"port of 33 bits":     raw(uid, entry("s", string(str(portListPort, string(num(portTarget, 1<<32|80)))))),
		"service not UTF-8":   raw(uid, entry("\xff", "")),
		"two of them":         append(raw(uid), raw(str(workloadUID, "v"), str(workloadName, "n"))...),
		"a service behind it": append(raw(uid), protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), append(str(2, "ns"), str(3, "h")...))...),
		"nothing":             {},
	}
}

// What is read without the message is what is read by it.
func TestBothWaysOfReadingAgree(t *testing.T) {
	for name, b := range odd(t) {
		agree(t, name, b)
	}
	var s Shared
	for _, name := range []string{"without waypoint", "bare", "name twice", "no ports"} {
		if _, ok := s.workload(odd(t)[name]); !ok {
			t.Errorf("%s: was not read the short way", name)
		}
	}
}

func agree(t *testing.T, name string, b []byte) {
	t.Helper()
	a := &workloadapi.Address{}
	var want *model.Workload
	err := proto.Unmarshal(b, a)
	if err == nil {
		want, _, err = DecodeAddress(a)
	}
	var s Shared
	for range 2 { // the second time what is shared is known
		got, ok := s.workload(b)
		if !ok {
			continue
		}
		if err != nil || want == nil {
			t.Errorf("%s: %x was read the short way, but is %v", name, b, err)
		} else if d := cmp.Diff(want, got, sameAddr); d != "" {
			t.Errorf("%s: %x differs: %s", name, b, d)
		}
	}
}

func FuzzDecodeWorkload(f *testing.F) {
	for _, b := range odd(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { agree(t, "fuzzed", b) })
}

// Pods of a Deployment have their services in common, and a name is part of the UID.
func TestWhatRepeatsIsShared(t *testing.T) {
	var s Shared
	read := func(change func(*model.Workload)) *model.Workload {
		v := fullWorkload()
		v.Waypoint = nil
		change(v)
		b, err := Marshal(EncodeWorkload(v))
		if err != nil {
			t.Fatal(err)
		}
		w, _, err := s.DecodeResource(b)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	a := read(func(*model.Workload) {})
	b := read(func(w *model.Workload) { w.UID, w.Name = "c1//Pod/shop/cart-2", "cart-2" })
	if unsafe.StringData(a.Node) != unsafe.StringData(b.Node) || unsafe.SliceData(a.Policies) != unsafe.SliceData(b.Policies) {
		t.Error("node or policies are kept twice")
	}
	a.Services["seen by both"] = nil
	if _, ok := b.Services["seen by both"]; !ok {
		t.Error("services are kept twice")
	}
	if unsafe.StringData(b.Name) != unsafe.StringData(b.UID[len(b.UID)-len(b.Name):]) {
		t.Error("the name is kept beside the UID")
	}
}
