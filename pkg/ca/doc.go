// Package ca gives every workload its identity: an X.509-SVID that the mesh's own authority signed.
//
// Three parts, used by different programs:
//
//   - Authority (controller): a root in a folder of PEM files, self-made or brought along, that signs
//     CSRs and the controller's own serving certificate. Rotate walks the folder from one root to the
//     next with both trusted in between.
//   - Service (controller): istio.v1.auth.IstioCertificateService on gRPC. The caller proves who it is
//     by a bound service-account token or by its mesh certificate (Authenticator); NodePolicy lets a
//     node's ztunnel have the identities of the pods of its node and of nobody else.
//   - Manager (ztunnel, waypoint launcher): fetches, keeps and renews one certificate per identity and
//     makes the tls.Configs of the tunnel: TLS 1.3, AES-GCM, ALPN h2, exact SPIFFE identity.
//
// Files of an authority's folder, named as the cacerts secret of Istio names them:
//
//	ca-cert.pem     the certificate that signs; self-signed, or an intermediate
//	ca-key.pem      its private key (ECDSA or RSA; PKCS#8, SEC 1 or PKCS#1), mode 0600
//	root-cert.pem   every root that the mesh trusts, concatenated
//	cert-chain.pem  optional: intermediates between ca-cert.pem and the root
//
// Replacing the root, without a connection lost: run `weft-controller ca rotate` three times, each at least
// one certificate lifetime (--cert-ttl) after the one before; it refuses to go on earlier.
//
//  1. introduce: a new root is made and trusted beside the old one, which still signs
//  2. promote: the new one signs; by now every proxy trusts it, for it came with the last renewal
//  3. retire: the old one is no longer trusted; by now nobody has a certificate of its
//
// A running controller notices each step within 10 s. A root that was brought along is replaced by hand in
// the same three steps: append the new one to root-cert.pem; replace ca-cert.pem and ca-key.pem; take
// the old one out of root-cert.pem. What is handed to proxies as their first root (the file given to
// --root-cert) must hold both until the end, as root-cert.pem does.
//
// Whatever cannot be proved is refused: no identity, an expired certificate, an unknown root, a
// caller without a pod of that service account on its node.
package ca
