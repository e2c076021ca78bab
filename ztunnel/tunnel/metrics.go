package tunnel

import (
	"net/netip"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/telemetry"
)

// watch exports how long a shard has kept its connections waiting at most.
func watch(m *telemetry.Metrics, s *hbone.Shards) {
	if s == nil {
		return
	}
	m.GaugeFunc("tunnel_shard_longest_turn_seconds", "Longest time for which a tunnel shard was busy without looking at all its connections, since the last scrape.",
		func() float64 { return s.Longest().Seconds() })
}

// events counts tunnel connections, which many streams share.
func events(m *telemetry.Metrics, log *zap.Logger) hbone.Events {
	opened := m.Counter("tunnel_connections_opened_total", "Tunnel connections whose handshake succeeded, either way.")
	closed := m.Counter("tunnel_connections_closed_total", "Tunnel connections that ended.")
	failed := m.CounterVec("tunnel_handshakes_failed_total", "Tunnel handshakes that failed, by cause.", "cause")
	floods := m.CounterVec("tunnel_floods_total", "Tunnel connections cut because the peer flooded them, by kind.", "kind")
	return hbone.Events{
		ConnOpened: func(hbone.ConnInfo) { opened.Inc() },
		ConnClosed: func(hbone.ConnInfo, error) { closed.Inc() },
		HandshakeFailed: func(cause string, remote netip.AddrPort, err error) {
			failed.WithLabelValues(cause).Inc()
			log.Info("tunnel handshake failed", zap.String("cause", cause), zap.Stringer("remote", remote), zap.Error(err))
		},
		Flood: func(kind string, c hbone.ConnInfo) {
			floods.WithLabelValues(kind).Inc()
			log.Warn("tunnel connection cut: its peer floods it", zap.String("kind", kind), zap.Stringer("remote", c.Remote), zap.String("identity", c.PeerID))
		},
	}
}
