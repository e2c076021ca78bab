package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/pkg/source"
)

// Options configure New.
type Options struct {
	// Config says where the API server is and who we are. Required; see Config.
	Config *rest.Config
	// Node, when set, limits what is read to the pods of this node and the namespaces.
	Node string
	// Quiet is how long nothing may change before a change is handed over, at most MaxWait after its
	// beginning. Defaults 50 ms and 250 ms.
	Quiet, MaxWait time.Duration
	// LookEvery is how often a resource that is not installed is looked for. Default 2 s.
	LookEvery time.Duration
	// Logger, default none.
	Logger *zap.Logger
}

// Source reads a cluster. Run may be called once.
type Source struct {
	o         Options
	clients   *kubernetes.Clientset
	dynamic   *dynamic.DynamicClient
	discovery *discovery.DiscoveryClient
	dirty     chan struct{} // something changed since it was last looked at
	running   sync.WaitGroup

	mu      sync.Mutex // protects what follows
	stores  []*store
	missing []source.Problem // resources that are not installed
}

// New prepares reading; nothing is asked of the server yet.
func New(o Options) (*Source, error) {
	if o.Config == nil {
		return nil, errors.New("kube.Options.Config is missing")
	}
	o.Quiet = cmp.Or(o.Quiet, 50*time.Millisecond)
	o.MaxWait = cmp.Or(o.MaxWait, 250*time.Millisecond)
	o.LookEvery = cmp.Or(o.LookEvery, 2*time.Second)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	s := &Source{o: o, dirty: make(chan struct{}, 1)}
	compact := rest.CopyConfig(o.Config) // Kubernetes' own kinds can be sent smaller than in JSON
	compact.ContentType = "application/vnd.kubernetes.protobuf"
	compact.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	var err error
	if s.clients, err = kubernetes.NewForConfig(compact); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if s.dynamic, err = dynamic.NewForConfig(o.Config); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if s.discovery, err = discovery.NewDiscoveryClientForConfig(o.Config); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	return s, nil
}

// Run calls changed with everything once all of it has been read, and after each change, until ctx ends.
// Calls do not overlap. It returns nil.
func (s *Source) Run(ctx context.Context, changed func(*source.Objects, []source.Problem)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.running.Wait()
	defer cancel()
	s.start(ctx, s.builtin()...)
	if s.o.Node == "" && !s.findResources(ctx) {
		return nil
	}
	for first := true; ; first = false {
		for first && !s.synced() {
			if !s.wait(ctx, 0, 0) {
				return nil
			}
		}
		changed(s.objects())
		if !s.wait(ctx, s.o.Quiet, s.o.MaxWait) {
			return nil
		}
	}
}

// start begins to read kinds.
func (s *Source) start(ctx context.Context, stores ...*store) {
	s.mu.Lock()
	s.stores = append(s.stores, stores...)
	s.mu.Unlock()
	for _, st := range stores {
		s.running.Go(func() { st.run(ctx) })
	}
}

// touch notes that something changed.
func (s *Source) touch() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// wait returns true when something has changed and then nothing more for a while; false when ctx ended.
func (s *Source) wait(ctx context.Context, quietFor, atMost time.Duration) bool {
	var quiet, latest <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case <-s.dirty:
			quiet = time.After(quietFor)
			if latest == nil {
				latest = time.After(atMost)
			}
		case <-quiet:
			return true
		case <-latest:
			return true
		}
	}
}

// synced reports whether every kind that was begun has been read.
func (s *Source) synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.stores {
		if !st.optional && !st.read() {
			return false
		}
	}
	return true
}

// objects are everything as it is now.
func (s *Source) objects() (*source.Objects, []source.Problem) {
	s.mu.Lock()
	stores, problems := s.stores[:len(s.stores):len(s.stores)], append([]source.Problem(nil), s.missing...)
	s.mu.Unlock()
	out := &source.Objects{}
	for _, st := range stores {
		problems = append(problems, st.fill(out)...)
	}
	return out, problems
}
