package launcher

import (
	"bytes"
	"context"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/waypoint/translate"
)

// passage leads the responses of one stream through the gate. One that has to be tried waits, though not for long, and
// with it those of its type that come after; all others pass it by.
//
// Of a response that is refused Envoy is given what nothing is wrong with, and what is removed. Its answer gets the
// words of the refusal: to the controller Envoy has taken the one and refused the other, which is how Envoy does it.
type passage struct {
	gate     *gate
	ctx      context.Context
	toEnvoy  func(*frame) error
	toServer func(*frame) error
	trials   sync.WaitGroup

	sending sync.Mutex // held while something is sent to Envoy
	mu      sync.Mutex // protects what follows
	waiting map[string][]*response
	words   map[string]string // for Envoy's answers, by nonce
}

func newPassage(ctx context.Context, g *gate, toEnvoy, toServer func(*frame) error) *passage {
	g.loops.began()
	return &passage{gate: g, ctx: ctx, toEnvoy: toEnvoy, toServer: toServer, waiting: map[string][]*response{}, words: map[string]string{}}
}

// response is a frame that was looked into.
type response struct {
	frame *frame
	discoveryv3.DeltaDiscoveryResponse
}

// take passes a frame on, now or later.
func (p *passage) take(f *frame) error {
	marked := f.contains(translate.PatchMark)
	if !marked && !p.gate.loops.concern(f) && p.idle() {
		return p.pass(f)
	}
	r := &response{frame: f}
	if err := proto.Unmarshal(f.data.Materialize(), &r.DeltaDiscoveryResponse); err != nil {
		return err
	}
	p.mu.Lock()
	queue, busy := p.waiting[r.GetTypeUrl()]
	if !marked && !busy {
		p.mu.Unlock()
		return p.lead(r)
	}
	p.waiting[r.GetTypeUrl()] = append(queue, r)
	p.mu.Unlock()
	if !busy {
		p.trials.Go(func() { p.work(r.GetTypeUrl()) })
	}
	return nil
}

func (p *passage) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) == 0
}

// work judges what waits of a type until nothing does. An error of either side ends the stream elsewhere.
func (p *passage) work(kind string) {
	for {
		p.mu.Lock()
		queue := p.waiting[kind]
		if len(queue) == 0 {
			delete(p.waiting, kind)
			p.mu.Unlock()
			return
		}
		p.waiting[kind] = queue[1:]
		p.mu.Unlock()
		if err := p.lead(queue[0]); err != nil {
			p.gate.log.Debug("stream ended during a trial", zap.Error(err))
			return
		}
	}
}

// lead takes a response through the gate.
func (p *passage) lead(r *response) error {
	modules := modulesIn(&r.DeltaDiscoveryResponse)
	refused := p.gate.judge(p.ctx, &r.DeltaDiscoveryResponse, modules)
	if err := p.ctx.Err(); err != nil {
		return err
	}
	p.gate.loops.given(&r.DeltaDiscoveryResponse, modules, refused)
	if refused != nil {
		return p.refuse(r, refused)
	}
	return p.pass(r.frame)
}

func (p *passage) pass(f *frame) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.toEnvoy(f)
}

// refuse passes the rest of a response on.
func (p *passage) refuse(r *response, why *refusal) error {
	rest := slices.DeleteFunc(slices.Clone(r.GetResources()), func(res *discoveryv3.Resource) bool { return why.names[res.GetName()] })
	if len(rest)+len(r.GetRemovedResources())+len(r.GetRemovedResourceNames()) == 0 {
		return p.answer(r, why.words) // Envoy never sees it
	}
	out := proto.CloneOf(&r.DeltaDiscoveryResponse)
	out.Resources = rest
	text, err := proto.Marshal(out)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.words[r.GetNonce()] = why.words
	p.mu.Unlock()
	return p.pass(frameOf(text))
}

// answer refuses in Envoy's place.
func (p *passage) answer(r *response, words string) error {
	text, err := proto.Marshal(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: refusing(words)})
	if err != nil {
		return err
	}
	return p.toServer(frameOf(text))
}

func refusing(words string) *rpcstatus.Status {
	return &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: words}
}

// ask passes on what Envoy asks and answers, with the words of a refusal where there was one. What Envoy itself says
// against the rest comes first: the refusal is said again when the response is.
func (p *passage) ask(f *frame) error {
	p.mu.Lock()
	none := len(p.words) == 0
	p.mu.Unlock()
	if none && !p.gate.loops.waits() {
		return p.toServer(f)
	}
	r := &discoveryv3.DeltaDiscoveryRequest{}
	if err := proto.Unmarshal(f.data.Materialize(), r); err != nil {
		return err
	}
	p.gate.loops.answered(r.GetResponseNonce())
	p.mu.Lock()
	words, refused := p.words[r.GetResponseNonce()]
	delete(p.words, r.GetResponseNonce())
	p.mu.Unlock()
	if !refused || r.GetErrorDetail() != nil {
		return p.toServer(f)
	}
	r.ErrorDetail = refusing(words)
	text, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	return p.toServer(frameOf(text))
}

func frameOf(text []byte) *frame { return &frame{data: mem.BufferSlice{mem.SliceBuffer(text)}} }

// contains reports whether a text is somewhere in a frame.
func (f *frame) contains(text string) bool {
	b := f.data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return bytes.Contains(b.ReadOnlyData(), []byte(text))
}
