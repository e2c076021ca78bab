package launcher

import (
	"bytes"
	"context"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/zap"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/waypoint/translate"
)

// passage leads the responses of one stream through the gate. One that has to be tried waits, and with it those of
// its type that come after; all others pass it by, so that a trial holds up nobody's endpoints.
type passage struct {
	gate     *gate
	ctx      context.Context
	toEnvoy  func(*frame) error
	toServer func(*frame) error
	trials   sync.WaitGroup

	sending sync.Mutex // held while something is sent to Envoy
	mu      sync.Mutex // protects waiting
	waiting map[string][]*response
}

// response is a frame that was looked into.
type response struct {
	frame *frame
	discoveryv3.DeltaDiscoveryResponse
}

// take passes a frame on, now or later.
func (p *passage) take(f *frame) error {
	marked := f.contains(translate.PatchMark)
	if !marked && p.idle() {
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
		return p.pass(f)
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
		r := queue[0]
		err := p.gate.judge(p.ctx, &r.DeltaDiscoveryResponse)
		switch {
		case p.ctx.Err() != nil:
			return
		case err == nil:
			err = p.pass(r.frame)
		default:
			err = p.refuse(r, err)
		}
		if err != nil {
			p.gate.log.Debug("stream ended during a trial", zap.Error(err))
			return
		}
	}
}

func (p *passage) pass(f *frame) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.toEnvoy(f)
}

// refuse answers in Envoy's place, which never sees the response.
func (p *passage) refuse(r *response, why error) error {
	text, err := proto.Marshal(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
		ErrorDetail: &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: why.Error()},
	})
	if err != nil {
		return err
	}
	return p.toServer(&frame{data: mem.BufferSlice{mem.SliceBuffer(text)}})
}

// contains reports whether a text is somewhere in a frame.
func (f *frame) contains(text string) bool {
	b := f.data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return bytes.Contains(b.ReadOnlyData(), []byte(text))
}
