package model

// TrafficPolicy is how requests and connections to a target are carried.
type TrafficPolicy struct {
}
