package tunnel

import (
	"time"

	"github.com/weftmesh/weft/pkg/hbone"
)

// vouchFor is how long a word is good: a peer that has left the mesh keeps its old streams no longer.
const vouchFor = time.Minute

// vouch says how long streams may go on over a connection for which a certificate has ended. Two things have
// to hold: the CA has renewed the pod's own certificate, so that the identity has not been withdrawn and the
// control plane has been heard of within a certificate's life; and the mesh still knows a workload of the
// peer's identity at the peer's address.
func (t *Tunnel) vouch(c hbone.ConnInfo) time.Time {
	own, err := t.f.o.Certificates.Current(t.p.Identity)
	if err != nil {
		return time.Time{}
	}
	peer := t.p.State.ByAddress(c.Remote.Addr())
	if peer == nil || peer.Identity().String() != c.PeerID {
		return time.Time{}
	}
	until := time.Now().Add(vouchFor)
	if end := own.NotAfter(); end.Before(until) {
		return end
	}
	return until
}
