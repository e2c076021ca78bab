package enroll

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/zds"
)

// ztunnel is one that listens only in notes. Its Proxy is the real one.
type ztunnel struct {
	w    *world
	name string
	deaf bool // acknowledges and does not listen
	mute bool // serves no DNS

	mu   sync.Mutex
	pods map[string]uint64 // cookies by UID
	told map[string]bool
	kill func()
}

func (w *world) ztunnel(name string, edit ...func(*ztunnel)) *ztunnel {
	z := &ztunnel{w: w, name: name, pods: map[string]uint64{}, told: map[string]bool{}}
	for _, e := range edit {
		e(z)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := zds.NewProxy(zds.ProxyOptions{Path: w.socket(), Handler: z, RetryMax: 10 * time.Millisecond}).Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	z.kill = sync.OnceFunc(func() {
		w.mu.Lock()
		for cookie, l := range w.listens {
			if l == z {
				delete(w.listens, cookie)
			}
		}
		for uid, c := range w.captured {
			if c.listener == z.name { // the kernel empties slots
				c.listener = ""
				w.captured[uid] = c
			}
		}
		w.mu.Unlock()
		cancel()
		<-done
	})
	w.t.Cleanup(z.kill)
	return z
}

func (z *ztunnel) Connected() {
	z.mu.Lock()
	defer z.mu.Unlock()
	clear(z.told)
}

func (z *ztunnel) Add(uid string, i zds.WorkloadInfo, ns *os.File) error {
	if err := z.w.failing(z.name + " add " + uid); err != nil {
		z.w.note("%s refuses %s", z.name, uid)
		return err
	}
	var cookie uint64
	if _, err := fmt.Sscan(textOf(ns), &cookie); err != nil {
		return err
	}
	z.mu.Lock()
	z.pods[uid], z.told[uid] = cookie, true
	z.mu.Unlock()
	z.w.mu.Lock()
	defer z.w.mu.Unlock()
	if !z.deaf {
		z.w.listens[cookie] = z
	}
	z.w.events = append(z.w.events, fmt.Sprintf("%s serves %s as %s", z.name, uid, i.ServiceAccount))
	return nil
}

func (z *ztunnel) Keep(uid string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.told[uid] = true
	if _, ok := z.pods[uid]; !ok {
		return errors.New("never added")
	}
	return nil
}

func (z *ztunnel) Del(uid string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if _, ok := z.pods[uid]; ok {
		delete(z.pods, uid)
		z.w.note("%s drops %s", z.name, uid)
	}
}

func (z *ztunnel) Snapshot() {
	z.mu.Lock()
	defer z.mu.Unlock()
	for uid := range z.pods {
		if !z.told[uid] {
			delete(z.pods, uid)
			z.w.note("%s drops %s", z.name, uid)
		}
	}
	z.w.note("%s knows all", z.name)
}

func (z *ztunnel) serves() (uids []string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for uid := range z.pods {
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}
