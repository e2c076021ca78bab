// Package interop tests the tunnel against implementations that we did not write. It holds nothing but tests.
package interop
