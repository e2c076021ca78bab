package model

// Probe is a health check of a service, made on its endpoints by the ztunnels of their nodes.
type Probe struct {
	ServicePort uint16 `json:"servicePort,omitempty"` // whose target is asked; 0: that of the service's first
	HealthCheck
}

// PortAt is where the probe asks a workload of the service, 0 where that has no such port.
func (p *Probe) PortAt(w *Workload, service string) uint16 {
	if p.Port != 0 {
		return p.Port
	}
	for _, x := range w.Services[service] {
		if p.ServicePort == 0 || x.ServicePort == p.ServicePort {
			return x.TargetPort
		}
	}
	return 0
}
