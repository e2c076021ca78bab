package ca

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// Phase of a root rotation.
type Phase string

// A rotation walks none → introduced → promoted → none.
const (
	PhaseNone       Phase = "none"       // one root
	PhaseIntroduced Phase = "introduced" // both trusted, the old one signs
	PhasePromoted   Phase = "promoted"   // both trusted, the new one signs
)

const (
	fileRotation = "rotation.json"
	fileNextCert = "next-cert.pem"
	fileNextKey  = "next-key.pem"
)

// RotationState is where a folder stands.
type RotationState struct {
	Phase Phase     `json:"phase"`
	Since time.Time `json:"since,omitzero"`
	// Old is the root that goes away, in PEM; set after promotion.
	Old string `json:"old,omitempty"`
}

// RotateOptions configure Rotate.
type RotateOptions struct {
	// Dir is the authority's folder.
	Dir string
	// TrustDomain of the new root. Default identity.DefaultTrustDomain.
	TrustDomain string
	// LeafTTL is the lifetime of leaf certificates: a step has to wait that long, and 10 s for the
	// controller to notice, until every proxy has renewed and thereby learned the roots of the step
	// before. Default 24 h.
	LeafTTL time.Duration
	// Force skips the wait: connections between proxies that have and have not renewed will fail.
	Force bool
	// Clock, default the machine's.
	Clock Clock
}

// ErrTooEarly is wrapped when proxies may not have learned the last step yet.
var ErrTooEarly = errors.New("too early for the next step of the rotation")

// Rotation reads where a folder stands.
func Rotation(dir string) (RotationState, error) {
	b, err := os.ReadFile(filepath.Join(dir, fileRotation))
	if errors.Is(err, fs.ErrNotExist) {
		return RotationState{Phase: PhaseNone}, nil
	} else if err != nil {
		return RotationState{}, fmt.Errorf("read rotation: %w", err)
	}
	var s RotationState
	if err := json.Unmarshal(b, &s); err != nil {
		return RotationState{}, fmt.Errorf("read rotation: %s: %w", fileRotation, err)
	}
	return s, nil
}

// Rotate takes a folder one step further and returns where it then stands. Three calls replace the
// root: introduce a new one beside the old, sign with the new one, forget the old one. A controller
// that runs notices each step by itself. The error wraps ErrTooEarly before LeafTTL and 10 s have passed.
func Rotate(o RotateOptions) (RotationState, error) {
	if o.TrustDomain == "" {
		o.TrustDomain = identity.DefaultTrustDomain
	}
	if o.LeafTTL == 0 {
		o.LeafTTL = DefaultTTL
	}
	now := clockOr(o.Clock).Now()
	m, err := loadMaterial(o.Dir, now)
	if err != nil {
		return RotationState{}, err
	}
	s, err := Rotation(o.Dir)
	if err != nil {
		return s, err
	}
	if ready := s.Since.Add(o.LeafTTL + defaultReload); s.Phase != PhaseNone && now.Before(ready) && !o.Force {
		return s, fmt.Errorf("%w: %s since %s; proxies may still hold certificates and roots from before: wait until %s, or force it",
			ErrTooEarly, s.Phase, s.Since.Format(time.RFC3339), ready.Format(time.RFC3339))
	}
	switch s.Phase {
	case PhaseNone:
		return introduce(o, m, now)
	case PhaseIntroduced:
		return promote(o.Dir, m, now)
	case PhasePromoted:
		return retire(o.Dir, s)
	}
	return s, fmt.Errorf("%s names unknown phase %q: remove the file to start over", fileRotation, s.Phase)
}

func introduce(o RotateOptions, m *material, now time.Time) (RotationState, error) {
	if len(m.chain) > 0 {
		return RotationState{}, errors.New("this authority was brought along (an intermediate signs): add the new root to " +
			FileRoots + " and replace " + FileCert + " and " + FileKey + " with those of your own authority")
	}
	certPEM, keyPEM, err := nextRoot(o, now)
	if err != nil {
		return RotationState{}, err
	}
	roots := EncodeCertificates(m.roots...)
	if !bytes.Contains(roots, certPEM) {
		roots = append(roots, certPEM...)
	}
	s := RotationState{Phase: PhaseIntroduced, Since: now}
	err = writeAll(
		file{filepath.Join(o.Dir, fileNextKey), keyPEM, 0o600},
		file{filepath.Join(o.Dir, fileNextCert), certPEM, 0o644},
		file{filepath.Join(o.Dir, FileRoots), roots, 0o644},
		s.file(o.Dir))
	return s, err
}

// nextRoot makes the new root, or takes the one that an introduction which was stopped half way
// (full disk, crash) has left: a second one would leave the first trusted for ever.
func nextRoot(o RotateOptions, now time.Time) (certPEM, keyPEM []byte, err error) {
	certPEM, errCert := os.ReadFile(filepath.Join(o.Dir, fileNextCert))
	keyPEM, errKey := os.ReadFile(filepath.Join(o.Dir, fileNextKey))
	if errCert == nil && errKey == nil {
		certs, errCert := ParseCertificates(certPEM)
		key, errKey := parsePrivateKey(keyPEM)
		if errCert == nil && errKey == nil && samePublicKey(certs[0].PublicKey, key.Public()) {
			return EncodeCertificates(certs[0]), keyPEM, nil
		}
	}
	cert, key, err := newRoot(o.TrustDomain, now)
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err = encodePrivateKey(key)
	return EncodeCertificates(cert), keyPEM, err
}

func promote(dir string, m *material, now time.Time) (RotationState, error) {
	s := RotationState{Phase: PhasePromoted, Since: now, Old: string(EncodeCertificates(m.cert))}
	if _, err := os.Stat(filepath.Join(dir, fileNextCert)); errors.Is(err, fs.ErrNotExist) {
		// An earlier call renamed both files and was stopped before it wrote the state.
		for _, r := range m.roots {
			if !r.Equal(m.cert) {
				s.Old = string(EncodeCertificates(r))
			}
		}
		return s, writeAll(s.file(dir))
	}
	err := os.Rename(filepath.Join(dir, fileNextKey), filepath.Join(dir, FileKey))
	if err == nil {
		err = os.Rename(filepath.Join(dir, fileNextCert), filepath.Join(dir, FileCert))
	}
	if err != nil {
		return s, fmt.Errorf("promote the new root: %w", err)
	}
	return s, writeAll(s.file(dir))
}

// healPromotion finishes a promotion that stopped between its two renames.
func healPromotion(dir string) error {
	next := filepath.Join(dir, fileNextCert)
	nextPEM, err := os.ReadFile(next)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no rotation under way
	} else if err != nil {
		return fmt.Errorf("read the new root: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, fileNextKey)); err == nil {
		return nil // not begun
	}
	keyPEM, err := os.ReadFile(filepath.Join(dir, FileKey))
	if err != nil {
		return fmt.Errorf("read the authority's key: %w", err)
	}
	key, err := parsePrivateKey(keyPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", FileKey, err)
	}
	certs, err := ParseCertificates(nextPEM)
	if err != nil {
		return fmt.Errorf("%s: %w", next, err)
	}
	if !samePublicKey(certs[0].PublicKey, key.Public()) {
		return nil // whatever happened here, it was no promotion
	}
	if err := os.Rename(next, filepath.Join(dir, FileCert)); err != nil {
		return fmt.Errorf("finish the promotion of the new root: %w", err)
	}
	return nil
}

func retire(dir string, s RotationState) (RotationState, error) {
	old, err := ParseCertificates([]byte(s.Old))
	if err != nil {
		return s, fmt.Errorf("%s: the old root: %w", fileRotation, err)
	}
	b, err := os.ReadFile(filepath.Join(dir, FileRoots))
	if err != nil {
		return s, fmt.Errorf("retire the old root: %w", err)
	}
	roots, err := ParseCertificates(b)
	if err != nil {
		return s, fmt.Errorf("%s: %w", FileRoots, err)
	}
	var keep []byte
	for _, r := range roots {
		if !r.Equal(old[0]) {
			keep = append(keep, EncodeCertificates(r)...)
		}
	}
	if len(keep) == 0 {
		return s, errors.New("retire the old root: no other root would be left")
	}
	if err := writeAll(file{filepath.Join(dir, FileRoots), keep, 0o644}); err != nil {
		return s, err
	}
	if err := os.Remove(filepath.Join(dir, fileRotation)); err != nil {
		return s, fmt.Errorf("retire the old root: %w", err)
	}
	return RotationState{Phase: PhaseNone}, nil
}

type file struct {
	path string
	data []byte
	mode os.FileMode
}

func (f file) write() error { return writeFile(f.path, f.data, f.mode) }

func (s RotationState) file(dir string) file {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // a struct of strings and a time always encodes
	}
	return file{filepath.Join(dir, fileRotation), append(b, '\n'), 0o644}
}

// writeAll writes in order and stops at the first failure.
func writeAll(files ...file) error {
	for _, f := range files {
		if err := f.write(); err != nil {
			return err
		}
	}
	return nil
}
