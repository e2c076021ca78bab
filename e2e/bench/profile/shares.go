package profile

import (
	"strings"

	"github.com/google/pprof/profile"
)

// Kinds of work, in the order in which they are told.
const (
	AES       = "AES-GCM of records"
	Read      = "read, readv"
	Write     = "write, writev"
	Poll      = "epoll_wait"
	Wake      = "futex, eventfd"
	Sockets   = "other system calls"
	Handshake = "TLS handshakes"
	Copy      = "copying"
	Memory    = "allocating, collecting"
	Scheduler = "Go's scheduler"
	Tunnel    = "HTTP/2, streams, shards"
	Ztunnel   = "policy, routes, logs, metrics"
	Rest      = "rest"
)

// Kinds lists them.
var Kinds = []string{AES, Read, Write, Poll, Wake, Sockets, Handshake, Copy, Memory, Scheduler, Tunnel, Ztunnel, Rest}

var colours = map[string]string{
	AES: "#e69f00", Read: "#56b4e9", Write: "#0f82c8", Poll: "#9ad0f0", Wake: "#b9c7d6", Sockets: "#7aa6c2", Handshake: "#d55e00",
	Copy: "#f0e442", Memory: "#cc79a7", Scheduler: "#b0b0b0", Tunnel: "#009e73", Ztunnel: "#7fd0b0", Rest: "#dddddd",
}

// Shares sorts p's CPU time by kind; they sum up to 1, or there are none. A system call counts as a whole, with all that the kernel does in it.
func Shares(p *profile.Profile) map[string]float64 {
	sums, total := map[string]float64{}, 0.0
	at := valueIndex(p)
	for _, s := range p.Sample {
		v := float64(s.Value[at])
		sums[kindOf(stackOf(s))] += v
		total += v
	}
	if total == 0 {
		return map[string]float64{}
	}
	for k := range sums {
		sums[k] /= total
	}
	return sums
}

// rule says of what kind a sample is in whose stack a function's name holds one of these.
type rule struct {
	kind  string
	names []string
	leaf  bool // of the innermost only
	call  bool // of any, while a system call is made
}

// rules are asked in order; the first that fits counts.
var rules = []rule{
	{kind: Handshake, names: []string{"crypto/tls.(*Conn).handshake", "crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake", "crypto/tls.(*Conn).Handshake", "hbone.handshake", "crypto/x509.", "crypto/ecdsa."}},
	{kind: Memory, names: []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.mallocgc", "runtime.newobject", "runtime.growslice", "runtime.makeslice", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcStart", "runtime.wbBufFlush"}},
	{kind: AES, names: []string{"crypto/internal/fips140/aes", "crypto/cipher."}},
	{kind: Poll, names: []string{"hbone.epollWait", "unix.EpollWait", "runtime.netpoll"}},
	{kind: Read, call: true, names: []string{"hbone.(*vector).read", "hbone.(*tunnel).readOnce"}},
	{kind: Write, call: true, names: []string{"hbone.(*vector).write", "hbone.(*tunnel).push"}},
	{kind: Wake, names: []string{"runtime.futex", "runtime.write1", "hbone.(*shard).wake", "runtime.usleep", "runtime.tgkill"}},
	{kind: Ztunnel, names: []string{"ztunnel/telemetry", "go.uber.org/zap", "prometheus/client_golang"}},
	{kind: Sockets, leaf: true, names: []string{"syscall.Syscall", "syscall.Syscall6", "syscall.RawSyscall", "syscall.RawSyscall6", "internal/runtime/syscall", "syscall.rawVforkSyscall"}},
	{kind: Copy, leaf: true, names: []string{"runtime.memmove"}},
	{kind: Scheduler, names: []string{"runtime.schedule", "runtime.findRunnable", "runtime.mcall", "runtime.gopark", "runtime.goready", "runtime.ready", "runtime.newproc", "runtime.sysmon", "runtime.exitsyscall", "runtime.entersyscall", "runtime.reentersyscall", "runtime.goexit0", "runtime.asyncPreempt"}},
	{kind: Tunnel, names: []string{"weft/pkg/hbone"}},
	{kind: Ztunnel, names: []string{"weft/ztunnel", "weft/pkg/"}},
}

// kindOf sorts a stack, the innermost function first.
func kindOf(stack []string) string {
	for _, r := range rules {
		look := stack
		switch innermost := stack[:min(1, len(stack))]; {
		case r.call && (len(innermost) == 0 || !strings.Contains(innermost[0], "yscall")):
			continue
		case r.leaf:
			look = innermost
		}
		for _, f := range look {
			for _, name := range r.names {
				if strings.Contains(f, name) {
					return r.kind
				}
			}
		}
	}
	return Rest
}
