// Package hbone carries TCP connections through tunnels: HTTP/2 CONNECT over mutual TLS (HBONE).
//
// A Server accepts tunnel connections and gives every CONNECT to its Handler, which answers it once, by
// Accept or Reject. A Pool opens streams to other workloads over connections that it dials, shares and
// retires. Both sides end up with a Stream: full duplex, half-closable, resettable. Splice joins a Stream
// with an application's TCP socket and is the way in which bytes should move; Read and Write are for
// everything else.
//
// The protocol is decided in package engine, which does no I/O. This package is its first driver: crypto/tls
// and goroutines. A connection has one goroutine, which waits for its socket without holding a buffer,
// decrypts what came and writes it straight to the applications' sockets. Whoever has something to send
// appends it to the connection's output; if nobody is writing, he writes, and what others append meanwhile
// leaves in one batch afterwards. Small messages go in front of bulk.
//
// Guarantees: no byte moves but between two verified certificates, TLS 1.3 with AES-GCM; a connection takes
// no streams beyond the certificate of either side, and those that live end with it unless both sides vouch
// for them (see PoolOptions.Vouch); a stream whose peer went away without saying that it had finished is
// reset, never an orderly end; an application that does not read stops its sender; and what a hostile peer
// can make us hold or do is bounded (see engine).
//
// The package knows no mesh: identities are SPIFFE URIs, policy is the Handler's.
package hbone
