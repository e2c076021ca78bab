package hbone

import (
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// env is what all connections of a Server or Pool share.
type env struct {
	limits Limits
	clock  Clock
	log    *zap.Logger
	events Events
	count  counters
	shards *Shards                  // nil: crypto/tls and goroutines
	vouch  func(ConnInfo) time.Time // nil: nobody does
	plain  *bufPool                 // decrypted input, output before encryption
	cipher *bufPool                 // records
}

func newEnv(l Limits, c Clock, log *zap.Logger, ev *Events) *env {
	e := &env{limits: l.withDefaults(), clock: c, log: log}
	if e.clock == nil {
		e.clock = realClock{}
	}
	if e.log == nil {
		e.log = zap.NewNop()
	}
	if ev != nil {
		e.events = *ev
	}
	e.plain = newBufPool(e.limits.Batch + slack)
	// A record of 16 KiB grows by 22 bytes; a batch may be two writes.
	e.cipher = newBufPool(e.limits.Batch + slack + urgentMax + (e.limits.Batch>>14+16)*32)
	return e
}

const (
	// slack behind a batch takes what must not wait for room: ends and resets of streams, and a small message.
	slack = 16 << 10
	// keepAlive of TCP, for paths that no PING crosses any more.
	keepAlive = 180 * time.Second
)

// tune sets the socket's options. A failure costs speed or a later notice of a dead peer, no more.
func (e *env) tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 9})
	_ = t.SetNoDelay(true)
	raw, err := t.SyscallConn()
	if err != nil || e.limits.Unsent < 0 {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, e.limits.Unsent)
	})
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// goodSuite: crypto/tls cannot be told to leave ChaCha20 out of TLS 1.3.
func goodSuite(s uint16) bool {
	return s == tls.TLS_AES_128_GCM_SHA256 || s == tls.TLS_AES_256_GCM_SHA384
}
