package model

// RateLimit is how many requests a target is asked.
type RateLimit struct {
}
