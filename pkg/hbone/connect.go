package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
)

// dial makes a connection and enters it.
func (p *Pool) dial(ctx context.Context, k Key, d *dial) {
	defer p.running.Done()
	c, err := p.connect(ctx, k)
	d.cancel(nil)
	p.mu.Lock()
	if err == nil && (p.closed || errors.Is(context.Cause(ctx), ErrClosed)) {
		c.d.drop()
		err = ErrClosed
	}
	d.err = err
	if e := p.entries[k]; e != nil {
		e.dials = slices.DeleteFunc(e.dials, func(x *dial) bool { return x == d })
		if err == nil {
			e.conns = append(e.conns, c)
			p.running.Add(1)
		}
		p.tidy(k, e)
	}
	p.mu.Unlock()
	if err == nil {
		c.start()
		go func() {
			<-c.done
			p.running.Done()
		}()
	}
	close(d.done)
}

func (p *Pool) tidy(k Key, e *entry) {
	if len(e.conns) == 0 && len(e.dials) == 0 {
		delete(p.entries, k)
	}
}

// connect dials and shakes hands.
func (p *Pool) connect(ctx context.Context, k Key) (*conn, error) {
	dctx, cancel := context.WithTimeout(ctx, p.env.limits.Dial)
	nc, err := p.o.Dial(dctx, k)
	cancel()
	if err != nil {
		return nil, dialError(err)
	}
	cfg, err := p.o.TLS(k)
	if err != nil {
		nc.Close()
		return nil, p.env.failed(nc, CauseConfig, handshakeError(err, "no certificate for this workload"))
	}
	cfg = expect(cfg, k.SANs)
	c, err := p.env.handshake(ctx, nc, cfg, true)
	if err != nil {
		return nil, err
	}
	c.info.Key = k
	c.onClose = p.forget
	return c, nil
}

// expect adds to cfg that the peer must be one of sans.
func expect(cfg *tls.Config, sans SANSet) *tls.Config {
	if cfg == nil {
		return nil
	}
	custom := cfg.VerifyConnection != nil || cfg.VerifyPeerCertificate != nil
	if cfg.InsecureSkipVerify && !custom {
		return cfg // handshake refuses it
	}
	next := cfg.VerifyConnection
	cfg = cfg.Clone()
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		if next != nil {
			if err := next(cs); err != nil {
				return err
			}
		}
		id, err := peerID(cs)
		if err == nil && !sans.Has(id) {
			err = fmt.Errorf("it is %s, expected %v; was the address given to another pod meanwhile?", id, sans.List())
		}
		return err
	}
	return cfg
}
