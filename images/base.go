package main

import (
	"bytes"
	"encoding/pem"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nobody is the user that images run as unless their work needs root.
const nobody = 65532

// baseFiles are in every image.
func baseFiles() []file {
	return []file{
		{path: "/etc/passwd", mode: 0o644, content: []byte("root:x:0:0:root:/root:/sbin/nologin\nweft:x:65532:65532:weft:/home/weft:/sbin/nologin\n")},
		{path: "/etc/group", mode: 0o644, content: []byte("root:x:0:\nweft:x:65532:\n")},
		{path: "/etc/nsswitch.conf", mode: 0o644, content: []byte("hosts: files dns\n")},
		{path: "/etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: caCertificates()},
		{path: "/home/weft", mode: 0o700, uid: nobody, dir: true},
		{path: "/tmp", mode: 0o1777, dir: true},
	}
}

// caCertificates are Mozilla's, out of a Go module, so that they depend on go.sum and not on this machine.
// Roots that are trusted with restrictions are left out: a PEM file cannot say the restriction.
func caCertificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // to memory
		}
	}
	return out.Bytes()
}
