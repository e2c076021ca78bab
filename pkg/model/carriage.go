package model

import "time"

// Carriage is the part of a TrafficPolicy that the ztunnels of callers carry out, for a service without waypoint.
type Carriage struct {
	Port uint16 `json:"port,omitempty"` // of the service; 0: those that have none of their own

	Connect   time.Duration     `json:"connect,omitempty"`  // how long reaching an endpoint may take; 0: ztunnel's own
	Idle      time.Duration     `json:"idle,omitempty"`     // how long nothing may move; 0: for ever
	Balance   *Balance          `json:"balance,omitempty"`  // of hashes those of the caller: its address or identity
	Limits    *ConnectionLimits `json:"limits,omitempty"`   // Connections and PerEndpoint
	Outliers  *Outliers         `json:"outliers,omitempty"` // ConnectFailures
	Keepalive *Keepalive        `json:"keepalive,omitempty"`
}

// Carried is how connections to a port of the service are carried, nil where nothing is said.
func (s *Service) Carried(port uint16) *Carriage {
	var all *Carriage
	for i := range s.Carriage {
		switch s.Carriage[i].Port {
		case port:
			return &s.Carriage[i]
		case 0:
			all = &s.Carriage[i]
		}
	}
	return all
}

// PerEndpoint is how many connections one ztunnel's pods may have to an endpoint, 0 without a limit.
func (c *Carriage) PerEndpoint() uint32 {
	if c == nil || c.Limits == nil || c.Limits.PerEndpoint == nil {
		return 0
	}
	return *c.Limits.PerEndpoint
}

// Connections is how many one ztunnel's pods may have to all endpoints, 0 without a limit.
func (c *Carriage) Connections() uint32 {
	if c == nil || c.Limits == nil || c.Limits.Connections == nil {
		return 0
	}
	return *c.Limits.Connections
}
