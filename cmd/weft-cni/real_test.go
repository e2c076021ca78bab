package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weftmesh/weft/pkg/cni"
)

// plugins is the folder of the plugins that make a pod's network.
func plugins(t *testing.T) string {
	t.Helper()
	dir, why := os.Getenv("WEFT_CNI"), "WEFT_CNI is not set: it is the folder of bridge and host-local that `make cluster` builds"
	if dir != "" && os.Geteuid() == 0 {
		return dir
	}
	if os.Geteuid() != 0 {
		why = "needs root, for network namespaces"
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// newNamespace makes a network namespace with a path.
func newNamespace(t *testing.T, name string) (path string) {
	t.Helper()
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	ns, err := netns.NewNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil {
			t.Error(err)
		}
	})
	defer ns.Close()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err := errors.Join(err, netns.Set(before)); err != nil {
		t.Fatal(err) // this thread is not used any more if it could not be set back: the test ends
	}
	return "/run/netns/" + name
}

// The real plugins make the network, ours is chained behind them: the agent is given the namespace that they worked
// in and the addresses that are there, and the result is theirs.
func TestBehindRealPlugins(t *testing.T) {
	bin := plugins(t)
	r := newRuntime(t, "1.0.0", 20)
	t.Setenv("CNI_NETNS_OVERRIDE", "")
	r.config.Path = append(r.config.Path, bin)
	suffix := fmt.Sprint(os.Getpid())
	node, pod := newNamespace(t, "wft-cni-n"+suffix), newNamespace(t, "wft-cni-p"+suffix)
	dir := t.TempDir()
	bridge := func(last string) *libcni.NetworkConfigList {
		return r.parse(fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","plugins":[
			{"type":"bridge","bridge":"wft0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.7.0.0/24"}],[{"subnet":"fd00:7::/64"}]]}}%s]}`,
			filepath.Join(dir, "ipam"), last))
	}
	r.list = bridge(fmt.Sprintf(`,{"type":"weft-cni","socket":%q}`, r.socket))
	r.conf.NetNS = pod
	a := &agent{}
	a.add = func(_ context.Context, p cni.Pod) error { return hasAddresses(p) }
	r.start(a)

	var got *types100.Result
	inside(t, node, func() {
		res, err := r.add()
		if err == nil {
			got, err = types100.NewResultFromResult(res)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	if len(got.IPs) != 2 || len(got.Interfaces) != 3 || got.Interfaces[2].Name != "eth0" || got.Interfaces[2].Sandbox != pod {
		t.Errorf("result %+v", got)
	}
	if len(a.calls) != 1 || !strings.Contains(a.calls[0], got.IPs[0].Address.IP.String()) || !strings.Contains(a.calls[0], got.IPs[1].Address.IP.String()) {
		t.Errorf("agent was told %q, result %v", a.calls, got.IPs)
	}
	inside(t, node, func() {
		if err := r.config.DelNetworkList(context.Background(), r.list, &r.conf); err != nil {
			t.Error(err)
		}
	})
	if left, err := filepath.Glob(filepath.Join(dir, "ipam", "net", "10.7.*")); err != nil || len(left) > 0 {
		t.Errorf("addresses are not given back: %v %v", left, err)
	}
}

// inside runs f on a thread in the namespace, which its child processes inherit.
func inside(t *testing.T, path string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromPath(path)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// hasAddresses looks into the namespace that the agent is given.
func hasAddresses(p cni.Pod) error {
	ns, err := netns.GetFromPath(p.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(p.Interface)
	if err != nil {
		return err
	}
	addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	there := map[netip.Addr]bool{}
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		there[ip.Unmap()] = true
	}
	for _, a := range p.Addresses {
		if !there[a] {
			return fmt.Errorf("%s is not on %s: %v", a, p.Interface, addrs)
		}
	}
	if len(p.Addresses) != 2 {
		return fmt.Errorf("addresses %v", p.Addresses)
	}
	return nil
}
