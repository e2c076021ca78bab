package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/direct"
)

// Whoever gets an address, and with no agent at all: nobody else has it on the direct path any more.
func TestForgetsAddresses(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must provide it")
		}
		t.Skip("needs root: eBPF")
	}
	pins := t.TempDir()
	if err := unix.Mount("bpf", pins, "bpf", 0, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(pins, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: direct.MapIdents, Type: ebpf.Hash, KeySize: 16, ValueSize: 16, MaxEntries: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Pin(filepath.Join(pins, direct.MapIdents)); err != nil {
		t.Fatal(err)
	}
	has := func(ip string) bool {
		var id direct.Ident
		return m.Lookup(netip.MustParseAddr(ip).As16(), &id) == nil
	}
	r := newRuntime(t, "1.0.0", 1)
	r.list = r.parse(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"network"},{"type":"weft-cni","socket":%q,"pins":%q,"timeoutSeconds":1}]}`, r.socket, pins))
	if err := cni.WriteState(cni.StatePath(r.socket), map[string]cni.Mode{"plain": cni.Plain, "shop": cni.Enrolled}); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{"kube-system", "plain", "shop"} {
		for _, op := range []string{"ADD", "DEL"} {
			for _, ip := range []string{"10.1.2.3", "fd00::3", "10.1.2.4"} {
				if err := m.Put(netip.MustParseAddr(ip).As16(), direct.Ident{NS: 7}); err != nil {
					t.Fatal(err)
				}
			}
			r.pod(namespace, "cart")
			if op == "ADD" {
				_, err = r.add()
				if waits := namespace == "shop"; (err != nil) != waits {
					t.Errorf("ADD of %s: %v", namespace, err)
				}
			} else if err := r.config.DelNetworkList(context.Background(), r.list, &r.conf); err != nil {
				t.Errorf("DEL of %s: %v", namespace, err)
			}
			// What failed to be added has no result that DEL could be told.
			if told := op == "ADD" || namespace != "shop"; told && (has("10.1.2.3") || has("fd00::3")) {
				t.Errorf("%s of %s left the address of the one before", op, namespace)
			}
			if !has("10.1.2.4") {
				t.Errorf("%s of %s took an address that is another's", op, namespace)
			}
		}
	}
}
