package hbone

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// ShardsOptions of Shards; the zero value will do.
type ShardsOptions struct {
	// Count of shards. Default: one for every two processors.
	Count int
	// Log; nil: none.
	Log *zap.Logger
}

// Shards drive tunnel connections, their streams and the application sockets spliced to them, of any number of
// Pools and Servers. Give them to PoolOptions and ServerOptions, and to the Go runtime two processors more than
// there are shards (runtime.GOMAXPROCS): a shard that waits may keep its own for some milliseconds.
type Shards struct {
	all      []*shard
	next     atomic.Uint32
	freezing sync.Mutex // held from Freeze to Thaw or Drop
}

// NewShards starts shards.
func NewShards(o ShardsOptions) (*Shards, error) {
	if o.Count <= 0 {
		o.Count = max(1, runtime.NumCPU()/2)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	s := &Shards{}
	for range o.Count {
		x, err := newShard(o.Log, runtime.GOMAXPROCS(0) >= o.Count+2)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("tunnel shard: %w", err)
		}
		s.all = append(s.all, x)
		go x.run()
	}
	return s, nil
}

// pick is the shard of the next connection.
func (s *Shards) pick() *shard { return s.all[int(s.next.Add(1))%len(s.all)] }

// Count is how many shards there are.
func (s *Shards) Count() int { return len(s.all) }

// Longest is how long the longest turn of any shard took since Longest was called last: for that long it kept
// all its other connections waiting.
func (s *Shards) Longest() (d time.Duration) {
	for _, x := range s.all {
		d = max(d, time.Duration(x.longest.Swap(0)))
	}
	return d
}

// Close ends the shards, once the Pools and Servers that use them are closed and their splices have ended.
func (s *Shards) Close() {
	for _, x := range s.all {
		select {
		case <-x.done: // closed before
			continue
		default:
		}
		x.stopping.Store(true)
		x.wake()
		<-x.done
	}
}

// owned is what a shard owns: a tunnel or an application's socket.
type owned interface {
	// event tells what epoll saw.
	event(ev uint32)
	// turn does what is due.
	turn()
	place() *slot
}

// slot is something's place in the inbox, under the shard's lock.
type slot struct{ queued bool }

func (p *slot) place() *slot { return p }

// shard is one goroutine in its own epoll_wait. What it owns is touched by nobody else, but for the state that
// a connection's or stream's lock protects. Descriptors are registered once, edge-triggered.
type shard struct {
	ep, ev   int
	log      *zap.Logger
	hold     int // milliseconds
	stopping atomic.Bool
	longest  atomic.Int64
	done     chan struct{}
	rest     atomic.Pointer[rest] // it is to freeze

	mu     sync.Mutex // protects what follows
	inbox  []owned
	asleep bool

	owns    []owned // by descriptor
	count   int
	turn    uint64    // counts them
	again   []*tunnel // had its share of this turn, wants more
	dirty   []*tunnel // to be flushed at the end of the turn
	spare   []*tunnel // empty, for again
	spareIn []owned   // empty, for inbox
	in      []byte    // for ciphertext, of all connections
	outs    lifo      // for records to be sent
	parts   lifo      // for records that have not arrived in whole
	vec     vector
	segs    [maxSegs][]byte
	plain   [][]byte
}

const (
	evAll = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	evEnd = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

	// holdMs is how long a shard waits for events before it tells the scheduler that it waits. A thread that
	// the scheduler knows to be in a system call has its processor taken and given back at every request; that
	// was a third of the cost of 1,000 requests a second.
	holdMs = 5
	// inSize is what is read from a tunnel at once.
	inSize = 1 << 20
	// heldIn is the same while small messages pass.
	heldIn = 128 << 10
	// rounds of the inbox before other events are looked at.
	rounds = 8
)

func newShard(log *zap.Logger, hold bool) (*shard, error) {
	s := &shard{log: log, done: make(chan struct{}), in: make([]byte, inSize), outs: lifo{size: outSize}, parts: lifo{size: partSize}}
	if hold {
		s.hold = holdMs
	}
	var err error
	if s.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	s.ev, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err == nil { // edge-triggered, so that nobody has to read it
		err = unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, s.ev, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(s.ev)})
	}
	if err != nil {
		unix.Close(s.ep)
		return nil, os.NewSyscallError("eventfd", err)
	}
	return s, nil
}

// post has o take a turn. Anybody may call it, under any lock but the shard's.
func (s *shard) post(o owned) {
	s.mu.Lock()
	asleep := false
	if p := o.place(); !p.queued {
		p.queued = true
		s.inbox = append(s.inbox, o)
		asleep, s.asleep = s.asleep, false
	}
	s.mu.Unlock()
	if asleep {
		s.wake()
	}
}

func (s *shard) wake() {
	one := [8]byte{1}
	// It fails only when 2^64 wakes were not noticed.
	_, _ = unix.Write(s.ev, one[:])
}

// own registers fd.
func (s *shard) own(fd int, o owned) error {
	for len(s.owns) <= fd {
		s.owns = append(s.owns, make([]owned, max(64, len(s.owns)))...)
	}
	if err := unix.EpollCtl(s.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: evAll, Fd: int32(fd)}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	s.owns[fd] = o
	s.count++
	return nil
}

// disown forgets fd, which is to be closed. Closing alone would not take it out of epoll while another process has
// a copy.
func (s *shard) disown(fd int) {
	if fd < len(s.owns) && s.owns[fd] != nil {
		_ = unix.EpollCtl(s.ep, unix.EPOLL_CTL_DEL, fd, nil) // it was added by own
		s.owns[fd] = nil
		s.count--
	}
}

func (s *shard) run() {
	defer close(s.done)
	defer unix.Close(s.ep)
	defer unix.Close(s.ev)
	evs := make([]unix.EpollEvent, 256)
	for {
		n, err := s.wait(evs)
		if err != nil {
			s.log.Error("epoll_wait of a tunnel shard failed; its connections hang", zap.Error(err))
			time.Sleep(time.Second)
		}
		began := time.Now()
		for i := range evs[:n] {
			if o := s.owner(evs[i].Fd); o != nil {
				o.event(evs[i].Events)
			}
		}
		s.turns()
		if d := int64(time.Since(began)); d > s.longest.Load() {
			s.longest.Store(d)
		}
		s.pause()
		if s.stopping.Load() && s.count == 0 && s.idle() {
			return
		}
	}
}

func (s *shard) owner(fd int32) owned {
	if int(fd) >= len(s.owns) {
		return nil
	}
	return s.owns[fd]
}

// turns gives everybody a turn who has something to do, and sends what came of it.
func (s *shard) turns() {
	s.turn++
	again := s.again
	s.again, s.spare = s.spare, nil
	for i, t := range again {
		again[i], t.isListed = nil, false
		t.turn()
	}
	s.spare = again[:0]
	for range rounds {
		if !s.inboxTurn() && len(s.dirty) == 0 {
			return
		}
		for i := 0; i < len(s.dirty); i++ {
			t := s.dirty[i]
			s.dirty[i], t.isDirty = nil, false
			t.send()
		}
		s.dirty = s.dirty[:0]
	}
}

// inboxTurn empties the inbox.
func (s *shard) inboxTurn() bool {
	s.mu.Lock()
	in := s.inbox
	if len(in) == 0 {
		s.mu.Unlock()
		return false
	}
	s.inbox, s.spareIn = s.spareIn, nil
	for _, o := range in {
		o.place().queued = false
	}
	s.mu.Unlock()
	for i, o := range in {
		in[i] = nil
		o.turn()
	}
	if cap(in) <= 4096 {
		s.spareIn = in[:0]
	}
	return true
}

func (s *shard) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.inbox) == 0 && len(s.again) == 0 && len(s.dirty) == 0
}

// wait waits for events.
func (s *shard) wait(evs []unix.EpollEvent) (int, error) {
	s.mu.Lock()
	busy := len(s.inbox) > 0 || len(s.again) > 0 || len(s.dirty) > 0 || s.stopping.Load() && s.count == 0
	s.asleep = !busy
	s.mu.Unlock()
	if busy {
		if s.hold == 0 {
			runtime.Gosched()
		}
		return epollWait(s.ep, evs, 0)
	}
	if n, err := epollWait(s.ep, evs, s.hold); n > 0 || err != nil {
		s.awake()
		return n, err
	}
	n, err := unix.EpollWait(s.ep, evs, -1)
	s.awake()
	if err == unix.EINTR {
		return 0, nil
	}
	return max(n, 0), err
}

func (s *shard) awake() {
	s.mu.Lock()
	s.asleep = false
	s.mu.Unlock()
}

// lifo keeps buffers of one size. The one handed out is the one used last, which is still in the caches.
type lifo struct {
	size int
	free [][]byte
}

// lifoKeep is how many unused buffers are kept.
const lifoKeep = 4

func (l *lifo) get() []byte {
	if n := len(l.free); n > 0 {
		b := l.free[n-1]
		l.free[n-1] = nil
		l.free = l.free[:n-1]
		return b
	}
	return make([]byte, l.size)
}

func (l *lifo) put(b []byte) {
	if len(b) == l.size && len(l.free) < lifoKeep {
		l.free = append(l.free, b)
	}
}

// driver names what moves the bytes of e's connections.
func (e *env) driver() string {
	if e.shards != nil {
		return "records"
	}
	return "stdlib"
}
