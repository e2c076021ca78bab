// Package hbone carries TCP connections through tunnels: HTTP/2 CONNECT over mutual TLS (HBONE).
//
// A Server accepts tunnel connections and gives every CONNECT to its Handler, which answers it once, by
// Accept or Reject. A Pool opens streams to other workloads over connections that it dials, shares and
// retires. Both sides end up with a Stream: full duplex, half-closable, resettable. Splice joins a Stream
// with an application's TCP socket and is the way in which bytes should move; Read and Write are for
// everything else.
//
// The protocol is decided in package engine, which does no I/O. Two drivers move the bytes, behind one API and
// with the same guarantees. Small messages go in front of bulk on both.
//
// The goroutine driver (goDriver) works on crypto/tls. A connection has one goroutine, which waits for its socket
// without holding a buffer, decrypts what came and writes it straight to the applications' sockets. Whoever has
// something to send appends it to the connection's output; if nobody is writing, he writes, and what others append
// meanwhile leaves in one batch afterwards.
//
// Shards (tunnel, app) seal and open TLS records themselves (package record) after crypto/tls's handshake. A shard
// is one goroutine in its own epoll_wait, which owns connections and the applications' sockets: many records a
// system call, sealed and opened where they lie, and nothing held by what is idle. Stream.Start leaves them a
// stream without a goroutine.
//
// What shards own can go on in another process (the upgrade of a node's proxy; package handover brings it there):
//
//	f := shards.Freeze()                            // nothing moves any more
//	state, fds, stay := pool.Export(f, nil)         // and server.Export(f, fds)
//	f.Thaw()                                        // called off, or:
//	f.Drop()                                        // it is the other's
//
//	arrival, err := pool.Import(state, fds, adopt)  // there: prepared
//	arrival.Run()                                   // its own
//
// Guarantees: no byte moves but between two verified certificates, TLS 1.3 with AES-GCM; a connection takes
// no streams beyond the certificate of either side, and those that live end with it unless both sides vouch
// for them (see PoolOptions.Vouch); a stream whose peer went away without saying that it had finished is
// reset, never an orderly end; an application that does not read stops its sender; and what a hostile peer
// can make us hold or do is bounded (see engine).
//
// The package knows no mesh: identities are SPIFFE URIs, policy is the Handler's.
package hbone
