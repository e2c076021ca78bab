package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The part of SPDX 2.3 that is used here.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		License       string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		Name          string         `json:"name"`
		ID            string         `json:"SPDXID"`
		Version       string         `json:"versionInfo,omitempty"`
		FileName      string         `json:"packageFileName,omitempty"`
		Download      string         `json:"downloadLocation"`
		FilesAnalyzed bool           `json:"filesAnalyzed"`
		License       string         `json:"licenseDeclared"`
		Concluded     string         `json:"licenseConcluded"`
		Copyright     string         `json:"copyrightText"`
		Checksums     []spdxChecksum `json:"checksums,omitempty"`
		References    []spdxExternal `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Type string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const unsaid = "NOASSERTION"

// sbom lists what is in an image: the binaries with their checksums, and of those that Go built, the modules.
func (b build) sbom(p program, platform v1.Platform, layers [][]file) ([]byte, error) {
	doc := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: p.name + " " + b.version + " " + platform.String(),
		Creation: spdxCreation{Created: b.at.Format(time.RFC3339), Creators: []string{"Tool: weft-images"}},
	}
	image := doc.add(spdxPackage{Name: p.name, Version: b.version, Download: source, License: "Apache-2.0", References: purl("oci", p.name, b.version)})
	doc.relate(doc.ID, "DESCRIBES", image)
	for _, f := range slices.Concat(layers...) {
		if f.from == "" {
			continue
		}
		if err := b.binary(&doc, image, f); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(doc.Packages, func(a, b spdxPackage) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(doc.Relationships, func(a, b spdxRelationship) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Type, b.Type), cmp.Compare(a.To, b.To))
	})
	body, err := json.Marshal(doc.Packages)
	if err != nil {
		return nil, err
	}
	doc.Namespace = fmt.Sprintf("%s/spdx/%s-%s-%x", source, p.name, platform.Architecture, sha256.Sum256(body))
	out, err := json.MarshalIndent(doc, "", " ")
	return append(out, '\n'), err
}

// binary adds one file, and the modules that Go recorded in it.
func (b build) binary(doc *spdxDocument, image string, f file) error {
	sum, err := checksum(f)
	if err != nil {
		return err
	}
	self := spdxPackage{
		Name: path.Base(f.path), FileName: f.path, Download: unsaid, License: unsaid,
		Checksums: []spdxChecksum{{Algorithm: "SHA256", Value: sum}},
	}
	info, err := buildinfo.ReadFile(f.from)
	if err != nil { // Envoy and the C library
		self.Version, self.References = foreign(f)
		doc.relate(image, "CONTAINS", doc.add(self))
		return nil
	}
	self.Version, self.License, self.Download = b.version, "Apache-2.0", source
	id := doc.add(self)
	doc.relate(image, "CONTAINS", id)
	std := strings.TrimPrefix(info.GoVersion, "go")
	doc.relate(id, "DEPENDS_ON", doc.add(spdxPackage{Name: "stdlib", Version: std, Download: "https://go.dev/dl/", License: "BSD-3-Clause", References: purl("golang", "stdlib", std)}))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		doc.relate(id, "DEPENDS_ON", doc.add(spdxPackage{
			Name: m.Path, Version: m.Version, Download: "https://" + m.Path, License: unsaid, References: purl("golang", m.Path, m.Version),
		}))
	}
	return nil
}

// add puts a package in once and returns its id.
func (d *spdxDocument) add(p spdxPackage) string {
	key := sha256.Sum256([]byte(p.Name + "\x00" + p.Version + "\x00" + p.FileName))
	p.ID = "SPDXRef-" + hex.EncodeToString(key[:8])
	p.Concluded, p.Copyright = unsaid, unsaid
	for _, had := range d.Packages {
		if had.ID == p.ID {
			return p.ID
		}
	}
	d.Packages = append(d.Packages, p)
	return p.ID
}

func (d *spdxDocument) relate(from, kind, to string) {
	d.Relationships = append(d.Relationships, spdxRelationship{From: from, Type: kind, To: to})
}

func purl(kind, name, version string) []spdxExternal {
	return []spdxExternal{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: "pkg:" + kind + "/" + name + "@" + strings.ReplaceAll(version, "+", "%2B")}}
}

func checksum(f file) (string, error) {
	in, _, err := f.open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha256.New()
	_, err = io.Copy(h, in)
	return hex.EncodeToString(h.Sum(nil)), err
}
