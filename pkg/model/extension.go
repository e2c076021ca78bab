package model

// Extension is foreign code on a target's requests.
type Extension struct {
}
