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
// Whatever cannot be proved is refused: no identity, an expired certificate, an unknown root, a
// caller without a pod of that service account on its node.
package ca
