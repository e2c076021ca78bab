package zds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"istio.io/istio/pkg/zdsapi"
)

// Pod is one entry of the agent's list.
type Pod struct {
	UID  string
	Info WorkloadInfo
	// Netns is the pod's network namespace; the Agent makes its own duplicate. nil while it cannot be
	// opened: a ztunnel that has the pod is told to keep it.
	Netns *os.File
}

// Events are called by an Agent, one at a time for each ztunnel; they must not call the Agent. All optional.
type Events struct {
	Connected func(Peer)             // a ztunnel said hello; the list follows
	Added     func(Peer, Pod, error) // it answered for a pod on the list; Netns is not set
	Synced    func(Peer)             // it has heard the whole list
	Gone      func(Peer, error)      // the connection ended; the process may live on and drain
}

// AgentOptions configure an Agent.
type AgentOptions struct {
	// Path of the socket. Empty: DefaultPath.
	Path string
	// AckTimeout is how long a ztunnel may take for one pod, certificate included, before it is taken for
	// dead and disconnected. 0: 30 s.
	AckTimeout time.Duration
	// HelloTimeout is how long a new connection may be silent. 0: 10 s.
	HelloTimeout time.Duration
	Events       Events
	// Logger; nil: none.
	Logger *zap.Logger
}

// Agent is the agent's end: the list of pods, and the ztunnels that are told about it.
type Agent struct {
	o   AgentOptions
	log *zap.Logger

	mu    sync.Mutex // protects what follows; a request is queued on links under it, so that all agree on the order
	pods  map[string]Pod
	links []*link // connected ztunnels, latest last
	peers uint64  // connections so far
}

// NewAgent makes an Agent with an empty list. Fill it with List before Run: what a ztunnel serves and does
// not find on the list, it drops.
func NewAgent(o AgentOptions) *Agent {
	if o.Path == "" {
		o.Path = DefaultPath
	}
	if o.AckTimeout <= 0 {
		o.AckTimeout = 30 * time.Second
	}
	if o.HelloTimeout <= 0 {
		o.HelloTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Agent{o: o, log: o.Logger, pods: map[string]Pod{}}
}

// Spaces calls do with the network namespaces of the pods on the list, and reports whether all have one.
func (a *Agent) Spaces(do func(uid string, netns *os.File)) (all bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all = true
	for uid, p := range a.pods {
		if p.Netns == nil {
			all = false
			continue
		}
		do(uid, p.Netns)
	}
	return all
}

// Run serves ztunnels until ctx ends, then disconnects them; they go on with what they have. The error is
// ErrInUse or what kept it from listening.
func (a *Agent) Run(ctx context.Context) error {
	l, err := listen(a.o.Path)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			a.log.Warn("accept on the ZDS socket", zap.Error(err))
			pause(ctx, 100*time.Millisecond) // such as used-up file descriptors
			continue
		}
		wg.Go(func() {
			if err := a.serve(ctx, c); err != nil && ctx.Err() == nil {
				a.log.Warn("ztunnel's connection ended", zap.Error(err))
			}
		})
	}
}

// listen takes over a socket that a dead agent left, but not one that is in use.
func listen(path string) (*net.UnixListener, error) {
	addr := &net.UnixAddr{Name: path, Net: "unixpacket"}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of the ZDS socket: %w", err)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		c, err := net.DialUnix("unixpacket", nil, addr)
		if err == nil {
			c.Close()
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("%w on %s: stop it first", ErrInUse, path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the ZDS socket of a former agent: %w", err)
		}
	}
	l, err := net.ListenUnix("unixpacket", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on the ZDS socket: %w", err)
	}
	// Whoever may connect is given the pods' namespaces.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// serve is one connection from hello to end.
func (a *Agent) serve(ctx context.Context, c *net.UnixConn) error {
	defer c.Close()
	cred, err := whoIs(c)
	if err != nil {
		return err
	}
	l := newLink(c, Peer{PID: int(cred.Pid), UID: cred.Uid, Connected: time.Now()}, a.o.AckTimeout)
	if err := a.hello(ctx, l); err != nil {
		return fmt.Errorf("process %d at the ZDS socket: %w", cred.Pid, err)
	}
	a.mu.Lock()
	a.peers++
	l.peer.ID = a.peers
	a.mu.Unlock()
	a.log.Info("ztunnel connected", zap.Int("pid", l.peer.PID), zap.Uint64("connection", l.peer.ID))
	if f := a.o.Events.Connected; f != nil {
		f(l.peer)
	}
	a.introduce(l)
	err = l.run(ctx)
	a.remove(l)
	if f := a.o.Events.Gone; f != nil {
		f(l.peer, err)
	}
	return fmt.Errorf("%v: %w", l.peer, err)
}

func (a *Agent) hello(ctx context.Context, l *link) error {
	stop := context.AfterFunc(ctx, func() { l.c.Close() })
	defer stop()
	_ = l.c.SetReadDeadline(time.Now().Add(a.o.HelloTimeout))
	defer func() { _ = l.c.SetReadDeadline(time.Time{}) }()
	var m zdsapi.ZdsHello
	files, _, err := l.read(&m)
	closeAll(files)
	if err != nil {
		return fmt.Errorf("no hello: %w", err)
	}
	if m.GetVersion() != zdsapi.Version_V1 {
		return fmt.Errorf("speaks version %v of ZDS, this agent speaks %v", m.GetVersion(), zdsapi.Version_V1)
	}
	return l.c.SetReadDeadline(time.Time{})
}

// introduce queues the whole list on a new link, and from now on what changes.
func (a *Agent) introduce(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pods {
		if p.Netns == nil {
			uid := p.UID
			l.enqueue(&call{req: keepRequest(uid), done: func(err error) {
				a.log.Debug("keep", zap.String("uid", uid), zap.Error(err))
			}})
			continue
		}
		l.enqueue(a.addCall(l, p, nil))
	}
	l.enqueue(&call{
		req: &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_SnapshotSent{SnapshotSent: &zdsapi.SnapshotSent{}}},
		done: func(err error) {
			if f := a.o.Events.Synced; err == nil && f != nil {
				f(l.peer)
			}
		}})
	a.links = append(a.links, l)
}

func (a *Agent) remove(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.links {
		if a.links[i] == l {
			a.links = append(a.links[:i:i], a.links[i+1:]...)
			return
		}
	}
}

// addCall tells the answer to the event, or to answer instead.
func (a *Agent) addCall(l *link, p Pod, answer func(error)) *call {
	c := &call{req: &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Add{
		Add: &zdsapi.AddWorkload{Uid: p.UID, WorkloadInfo: p.Info.message()}}}, file: p.Netns, done: answer}
	if answer == nil {
		told := Pod{UID: p.UID, Info: p.Info}
		c.done = func(err error) {
			if f := a.o.Events.Added; f != nil && !errors.Is(err, ErrDisconnected) && !errors.Is(err, ErrGone) {
				f(l.peer, told, err)
			}
		}
	}
	return c
}

func keepRequest(uid string) *zdsapi.WorkloadRequest {
	return &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Keep{Keep: &zdsapi.KeepWorkload{Uid: uid}}}
}

func delRequest(uid string) *zdsapi.WorkloadRequest {
	return &zdsapi.WorkloadRequest{Payload: &zdsapi.WorkloadRequest_Del{Del: &zdsapi.DelWorkload{Uid: uid}}}
}
