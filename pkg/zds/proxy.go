package zds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"istio.io/istio/pkg/zdsapi"
)

// Handler is what a ztunnel does with the agent's words. Adds may run at once, for different pods; the
// other calls have the Handler to themselves.
type Handler interface {
	// Connected begins a new list.
	Connected()
	// Add returns when the pod can be served, or why it cannot. The file is closed afterwards.
	Add(uid string, w WorkloadInfo, ns *os.File) error
	// Keep names a pod that was added over an earlier connection.
	Keep(uid string) error
	// Del removes a pod.
	Del(uid string)
	// Snapshot ends the list: pods that were not named since Connected are gone.
	Snapshot()
}

// ProxyOptions configure a Proxy.
type ProxyOptions struct {
	// Path of the agent's socket. Empty: DefaultPath.
	Path string
	// Handler is required.
	Handler Handler
	// RetryMax is the longest pause between attempts to connect, which begin at 50 ms and double. 0: 2 s.
	RetryMax time.Duration
	// Logger; nil: none.
	Logger *zap.Logger
}

// Proxy is the ztunnel's end.
type Proxy struct {
	o   ProxyOptions
	log *zap.Logger
}

// NewProxy makes a Proxy.
func NewProxy(o ProxyOptions) *Proxy {
	if o.Path == "" {
		o.Path = DefaultPath
	}
	if o.RetryMax <= 0 {
		o.RetryMax = 2 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Proxy{o: o, log: o.Logger}
}

const firstRetry = 50 * time.Millisecond

// Run stays connected to the agent until ctx ends, and then returns nil when no handler runs any more.
func (p *Proxy) Run(ctx context.Context) error {
	retry, told := firstRetry, false
	for ctx.Err() == nil {
		began := time.Now()
		connected, err := p.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case connected:
			p.log.Warn("agent disconnected; pods are served on", zap.Error(err))
			told = false
		case !told:
			p.log.Warn("agent cannot be reached; trying on", zap.String("socket", p.o.Path), zap.Error(err))
			told = true
		}
		if connected && time.Since(began) > p.o.RetryMax {
			retry = firstRetry
		}
		pause(ctx, retry)
		retry = min(2*retry, p.o.RetryMax)
	}
	return nil
}

// session is one connection from its making to its end.
func (p *Proxy) session(ctx context.Context) (connected bool, err error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "unixpacket", p.o.Path)
	if err != nil {
		return false, err
	}
	s := &session{packets: packets{c: raw.(*net.UnixConn)}, h: p.o.Handler, acks: make(chan chan error, window)}
	defer s.c.Close()
	stop := context.AfterFunc(ctx, func() { s.c.Close() })
	defer stop()
	if err := s.write(&zdsapi.ZdsHello{Version: zdsapi.Version_V1}, nil); err != nil {
		return false, fmt.Errorf("say hello: %w", err)
	}
	p.log.Info("connected to the agent", zap.String("socket", p.o.Path))
	s.h.Connected()
	return true, s.run()
}

// session reads requests and answers them in order.
type session struct {
	packets
	h    Handler
	adds sync.WaitGroup
	acks chan chan error // answers to come, in the order of the requests
}

func (s *session) run() error {
	wrote := make(chan error, 1)
	go func() { wrote <- s.answer() }()
	err := s.receive()
	close(s.acks)
	if werr := <-wrote; werr != nil && !errors.Is(werr, net.ErrClosed) {
		return werr
	}
	return err
}

func (s *session) receive() error {
	busy := map[string]bool{} // pods that an Add runs for
	for {
		var req zdsapi.WorkloadRequest
		files, lost, err := s.read(&req)
		if err != nil {
			s.adds.Wait()
			return err
		}
		add := req.GetAdd()
		if add == nil || busy[add.GetUid()] {
			s.adds.Wait() // for order among requests that concern each other
			clear(busy)
		}
		ack := make(chan error, 1)
		s.acks <- ack // waits when an agent sends too far ahead
		if add == nil {
			closeAll(files)
			ack <- s.handle(&req)
			continue
		}
		busy[add.GetUid()] = true
		s.adds.Go(func() {
			defer closeAll(files)
			ack <- s.add(add, files, lost)
		})
	}
}

func (s *session) add(m *zdsapi.AddWorkload, files []*os.File, lost bool) error {
	w := m.GetWorkloadInfo()
	switch {
	case m.GetUid() == "":
		return errors.New("AddWorkload without a uid")
	case w.GetName() == "" || w.GetNamespace() == "" || w.GetServiceAccount() == "":
		return fmt.Errorf("AddWorkload %s does not say who the pod is: name, namespace and service account are needed", m.GetUid())
	case len(files) == 0 && lost:
		return fmt.Errorf("AddWorkload %s: its network namespace was lost on the way (is the limit of open files reached?)", m.GetUid())
	case len(files) != 1:
		return fmt.Errorf("AddWorkload %s came with %d file descriptors, one network namespace was expected", m.GetUid(), len(files))
	}
	return s.h.Add(m.GetUid(), WorkloadInfo{Name: w.GetName(), Namespace: w.GetNamespace(), ServiceAccount: w.GetServiceAccount()}, files[0])
}

func (s *session) handle(req *zdsapi.WorkloadRequest) error {
	switch m := req.GetPayload().(type) {
	case *zdsapi.WorkloadRequest_Keep:
		return s.h.Keep(m.Keep.GetUid())
	case *zdsapi.WorkloadRequest_Del:
		s.h.Del(m.Del.GetUid())
		return nil
	case *zdsapi.WorkloadRequest_SnapshotSent:
		s.h.Snapshot()
		return nil
	}
	return errors.New("a request that this ztunnel does not know")
}

// answer sends the Acks. After an error it goes on taking them, so that nobody waits for it.
func (s *session) answer() (err error) {
	for ack := range s.acks {
		m := &zdsapi.Ack{}
		if e := <-ack; e != nil {
			m.Error = text(e)
		}
		if err != nil {
			continue
		}
		if err = s.write(&zdsapi.WorkloadResponse{Payload: &zdsapi.WorkloadResponse_Ack{Ack: m}}, nil); err != nil {
			s.c.Close() // ends receive
		}
	}
	return err
}

// text fits an error into a packet, and into a protobuf string.
func text(err error) string {
	const most = packetRoom / 4
	s := err.Error()
	if len(s) > most {
		s = s[:most] + " …"
	}
	return cmp.Or(strings.ToValidUTF8(s, "?"), "failed")
}
