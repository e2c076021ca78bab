package relay

import (
	"net"

	"github.com/weftmesh/weft/pkg/model"
)

// KeepAlive has the kernel look after an idle connection as k says. nil, or a
// connection that cannot: nothing is changed.
func KeepAlive(c net.Conn, k *model.Keepalive) {
	t, ok := c.(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	})
	if k == nil || !ok {
		return
	}
	// It fails only on a connection that is gone already, and whoever uses it will see.
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: k.Time, Interval: k.Interval, Count: int(k.Probes)})
}
