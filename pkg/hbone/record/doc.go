// Package record carries a TLS 1.3 connection on after crypto/tls has made its handshake.
//
// crypto/tls takes and gives one record a call and owns its buffers. A tunnel's cost is system calls and
// copies, so its driver wants many records a call, sealed and opened where they lie. This package is that and
// nothing else: crypto/tls authenticates both sides and agrees on the keys; what it agreed on is protected
// here, by the AES-GCM of the standard library. docs/decisions/025-record-layer.md argues each risk.
//
// # Use
//
// Client and Server make the handshake on a connection and return a Session. From then on the socket is the
// caller's, the *tls.Conn is dead, and one goroutine owns the Session:
//
//   - To send, lay out records in one buffer, each HeaderLen bytes, up to MaxPayload bytes of payload, and
//     room for the rest of Overhead; Seal each in place and write all of them in order. Never seal a record
//     twice, never leave one out: after a short write, keep the ciphertext.
//   - Before each such batch, of no more than 1<<20 records, and after each batch of received ones, append
//     what Out.AppendDue has to say.
//   - To receive, begin with Session.Surplus, which was read from the socket in the handshake, go on with what
//     comes from the socket, and call Open as long as there is a whole record.
//   - When the socket ends, ask In.Truncated. When an error ends the session, or the caller does, write what
//     Out.AppendEnd gives.
//
// # What it does, by sections of RFC 8446
//
//   - 5.1, 5.2, 5.4: one content type outside, version 0x0303, at most 2^14+256 bytes, the inner type behind
//     the content and before zeros. Anything else ends the session by the alert that fits. Ours have no padding.
//   - 5.3: the nonce is the IV xor a 64-bit number that grows by one a record.
//   - 4.6.3, 5.5, 7.2: a key seals 2^23 records, then KeyUpdate; a peer that does not renew its own by itself
//     is asked to. A key that has come to 2^24 (ours) or 2^24.5 (the peer's) is not used again.
//     A KeyUpdate lies alone in its record. Requests that come together get one answer.
//   - 4.6.1: tickets are counted and thrown away. Ours sends none, and never resumes.
//   - 6: close_notify must precede the end of the socket; every other alert but user_canceled is fatal.
//   - D.4: change_cipher_spec belongs to the handshake and is refused after it.
//
// Records that bring no payload (empty ones, tickets, KeyUpdates, user_canceled) may come 16 in a row, as
// with crypto/tls.
//
// # Moving a session to another process
//
// Session.Export seals a last KeyUpdate, drops its keys and returns the state of the generation that follows,
// under which nothing has been sealed. Import takes that up. No two processes ever hold the same key.
//
// Only TLS_AES_128_GCM_SHA256 and TLS_AES_256_GCM_SHA384 are spoken, and not in FIPS mode: whoever needs that
// uses crypto/tls throughout.
package record
