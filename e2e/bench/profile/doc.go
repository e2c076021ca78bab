// Package profile says where a Go program's time goes: it draws flame graphs of CPU profiles, sorts their samples by
// what is done (Shares), and tells from an execution trace how long goroutines that could run had to wait (Waits).
// weft-bench uses it on ztunnels; nothing in it runs in the mesh. The same profile gives the same bytes.
package profile
