package model

// ServicePort is a port of a service that a waypoint calls itself.
type ServicePort struct {
	Service string `json:"service"` // Service.Key()
	Port    uint16 `json:"port"`
}
