package ca

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/identity"
)

func TestSelfMadeRootIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	if _, err := OpenAuthority(AuthorityOptions{Dir: dir}); !errors.Is(err, ErrNoRoot) {
		t.Errorf("without Create: %v, want ErrNoRoot", err)
	}
	a := openAuthority(t, AuthorityOptions{Dir: dir})
	b := openAuthority(t, AuthorityOptions{Dir: dir})
	if !a.Signing().Equal(b.Signing()) {
		t.Error("opening again made another root")
	}
	if err := CreateRoot(dir, "cluster.local", time.Now()); err == nil {
		t.Error("a root was overwritten")
	}
	fi, err := os.Stat(filepath.Join(dir, FileKey))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v; want mode 0600", fi.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
	if years := time.Until(a.Signing().NotAfter).Hours() / 24 / 365; years < 9.9 {
		t.Errorf("root lives %.1f years, want 10", years)
	}
}

// bringIntermediate writes an authority as an operator brings it: an intermediate under an own root.
func bringIntermediate(t *testing.T, dir string) {
	t.Helper()
	root, rootKey, err := newRoot("cluster.local", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := ecKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "mesh intermediate"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, err := encodePrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeAll(file{filepath.Join(dir, FileKey), keyPEM, 0o600}, file{filepath.Join(dir, FileCert), EncodeCertificates(cert), 0o644},
		file{filepath.Join(dir, FileRoots), EncodeCertificates(root), 0o644}, file{filepath.Join(dir, FileChain), EncodeCertificates(cert, root), 0o644}); err != nil {
		t.Fatal(err)
	}
}

func TestBroughtAlongIntermediate(t *testing.T) {
	dir := t.TempDir()
	bringIntermediate(t, dir)
	a := openAuthority(t, AuthorityOptions{Dir: dir})
	m := meshOf(t, a)
	c := mustCert(t, m, cart)
	if n := len(c.TLS.Certificate); n != 2 {
		t.Errorf("a handshake presents %d certificates, want leaf and intermediate", n)
	}
	if len(c.Roots) != 1 || !c.Roots[0].Equal(a.Roots()[0]) {
		t.Errorf("roots: %v", c.Roots)
	}
	if s, cl := handshake(t, m.ServerTLS(cart), m.ClientTLS(cart, only(cart))); s != nil || cl != nil {
		t.Errorf("handshake: server %v, client %v", s, cl)
	}
	if _, err := Rotate(RotateOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "brought along") {
		t.Errorf("rotation of a foreign authority: %v", err)
	}
}

func TestLeafNeverOutlivesItsIssuer(t *testing.T) {
	dir := t.TempDir()
	bringIntermediate(t, dir) // lives 48 h
	a := openAuthority(t, AuthorityOptions{Dir: dir, TTL: 100 * time.Hour})
	c := mustCert(t, meshOf(t, a), cart)
	if c.NotAfter().After(a.Signing().NotAfter) {
		t.Errorf("leaf until %v, issuer until %v", c.NotAfter(), a.Signing().NotAfter)
	}
}

func TestUnusableAuthorities(t *testing.T) {
	other := t.TempDir()
	bringIntermediate(t, other)
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(other, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	leafDir := t.TempDir()
	a := openAuthority(t, AuthorityOptions{Dir: leafDir})
	key, csr, _ := NewRequest(cart)
	chain, err := a.Sign(csr, cart, 0)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM, _ := encodePrivateKey(key)
	for name, tc := range map[string]struct {
		put  map[string][]byte
		says string
	}{
		"key of another":     {map[string][]byte{FileKey: read(FileKey)}, "does not belong"},
		"no PEM":             {map[string][]byte{FileCert: []byte("hello")}, "no PEM certificate"},
		"no key in the file": {map[string][]byte{FileKey: []byte("hello")}, "no PEM private key"},
		"root of another":    {map[string][]byte{FileRoots: read(FileRoots)}, "does not lead to a root"},
		"not an authority":   {map[string][]byte{FileCert: []byte(chain[0]), FileKey: keyPEM}, "not a certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := openAuthority(t, AuthorityOptions{Dir: dir})
			before := a.Signing()
			for f, b := range tc.put {
				if err := os.WriteFile(filepath.Join(dir, f), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Reload(); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("reload: %v, want an error that says %q", err, tc.says)
			}
			if a.Signing() != before {
				t.Error("the last good authority was lost")
			}
			if _, err := OpenAuthority(AuthorityOptions{Dir: dir, Create: true}); err == nil {
				t.Error("a controller started with it")
			}
		})
	}
	t.Run("expired", func(t *testing.T) {
		clock := newFakeClock()
		dir := t.TempDir()
		openAuthority(t, AuthorityOptions{Dir: dir, Clock: clock})
		clock.Advance(RootTTL + time.Hour)
		if _, err := OpenAuthority(AuthorityOptions{Dir: dir, Clock: clock}); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("TTL below 30 s", func(t *testing.T) {
		if _, err := OpenAuthority(AuthorityOptions{Dir: t.TempDir(), Create: true, TTL: 29 * time.Second}); err == nil {
			t.Error("accepted")
		}
	})
}

func TestServingCertificateRenewsItself(t *testing.T) {
	clock := newFakeClock()
	a := openAuthority(t, AuthorityOptions{TTL: time.Hour, Clock: clock})
	get := a.ServingTLS(ServingOptions{Identity: controller, DNSNames: []string{"x"}}).GetCertificate
	first, err := get(nil)
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(29 * time.Minute)
	if c, _ := get(nil); c != first {
		t.Error("renewed before half its life")
	}
	clock.Advance(2 * time.Minute)
	if c, _ := get(nil); c == first {
		t.Error("not renewed after half its life")
	}
}

// While a rotation is under way, certificates of the old and of the new root trust each other.
func TestRotation(t *testing.T) {
	clock := newFakeClock()
	dir := t.TempDir()
	a := openAuthority(t, AuthorityOptions{Dir: dir, TTL: time.Hour, Clock: clock})
	oldRoot := a.Signing()
	fetch := func() *Manager {
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
		m := newManager(t, ManagerOptions{Issuer: direct{a}, Clock: clock})
		mustCert(t, m, cart)
		return m
	}
	step := func(want Phase, roots int) {
		t.Helper()
		s, err := Rotate(RotateOptions{Dir: dir, LeafTTL: time.Hour, Clock: clock})
		if err != nil || s.Phase != want {
			t.Fatalf("got %v, %v; want %v", s.Phase, err, want)
		}
		if err := a.Reload(); err != nil {
			t.Fatal(err)
		}
		if len(a.Roots()) != roots {
			t.Fatalf("%s: %d roots are trusted, want %d", want, len(a.Roots()), roots)
		}
	}
	talk := func(x, y *Manager) error {
		s, c := handshake(t, x.ServerTLS(cart), y.ClientTLS(cart, only(cart)))
		s2, c2 := handshake(t, y.ServerTLS(cart), x.ClientTLS(cart, only(cart)))
		return errors.Join(s, c, s2, c2)
	}

	before := fetch()
	step(PhaseIntroduced, 2)
	introduced := fetch()
	if !a.Signing().Equal(oldRoot) {
		t.Error("the new root signs before everybody knows it")
	}
	if err := talk(before, introduced); err != nil {
		t.Errorf("before and after introduction: %v", err)
	}
	if _, err := Rotate(RotateOptions{Dir: dir, LeafTTL: time.Hour, Clock: clock}); !errors.Is(err, ErrTooEarly) {
		t.Errorf("promotion at once: %v, want ErrTooEarly", err)
	}
	clock.Advance(50 * time.Minute)
	introduced = fetch()
	clock.Advance(10*time.Minute + defaultReload)
	step(PhasePromoted, 2)
	promoted := fetch()
	if a.Signing().Equal(oldRoot) {
		t.Error("the old root still signs")
	}
	if err := talk(introduced, promoted); err != nil {
		t.Errorf("old and new root: %v", err)
	}
	clock.Advance(50 * time.Minute)
	promoted = fetch()
	clock.Advance(10*time.Minute + defaultReload)
	step(PhaseNone, 1)
	if err := talk(promoted, fetch()); err != nil {
		t.Errorf("after the rotation: %v", err)
	}
	if a.Roots()[0].Equal(oldRoot) {
		t.Error("the old root is still trusted")
	}
}

func TestPromotionSurvivesACrash(t *testing.T) {
	dir := t.TempDir()
	a := openAuthority(t, AuthorityOptions{Dir: dir})
	old := a.Signing()
	if _, err := Rotate(RotateOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	// The first of the two renames of a promotion happened, then the machine stopped.
	if err := os.Rename(filepath.Join(dir, fileNextKey), filepath.Join(dir, FileKey)); err != nil {
		t.Fatal(err)
	}
	if err := a.Reload(); err != nil {
		t.Fatalf("after the crash: %v", err)
	}
	if a.Signing().Equal(old) {
		t.Error("the promotion was not finished")
	}
	if s, err := Rotate(RotateOptions{Dir: dir, Force: true}); err != nil || s.Phase != PhasePromoted {
		t.Fatalf("promote again: %v, %v", s.Phase, err)
	}
	if s, err := Rotate(RotateOptions{Dir: dir, Force: true}); err != nil || s.Phase != PhaseNone {
		t.Fatalf("retire: %v, %v", s.Phase, err)
	}
	if err := a.Reload(); err != nil || len(a.Roots()) != 1 || a.Roots()[0].Equal(old) {
		t.Errorf("%v; roots %d", err, len(a.Roots()))
	}
}

// On a full disk a rotation fails, the authority in use stays whole, and the next attempt goes on.
// smallDisk is a file system with so many free pages left; room makes space, unmount takes it away.
func smallDisk(t *testing.T) (dir string, leave func(pages int), room func(), unmount func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to mount a small file system")
		}
		t.Skip("needs root to mount a small file system")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	unmount = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	t.Cleanup(unmount)
	fill := filepath.Join(dir, "fill")
	leave = func(pages int) {
		var fs unix.Statfs_t
		if err := unix.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(fill, make([]byte, (int(fs.Bfree)-pages)*int(fs.Bsize)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	room = func() {
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
	}
	return dir, leave, room, unmount
}

// A root that cannot be written whole is not written at all: the start fails and says why, and succeeds
// once there is room.
func TestRootOnAFullDisk(t *testing.T) {
	for pages := range 3 { // it runs full at the first, second, third file
		dir, leave, room, unmount := smallDisk(t)
		leave(pages)
		_, err := OpenAuthority(AuthorityOptions{Dir: dir, Create: true})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "create authority") {
			t.Errorf("with %d pages free: %v, want no space left", pages, err)
		}
		for _, f := range []string{FileKey, FileRoots, FileCert} {
			if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
				t.Errorf("with %d pages free: %s is left", pages, f)
			}
		}
		room()
		if a, err := OpenAuthority(AuthorityOptions{Dir: dir, Create: true}); err != nil || len(a.Roots()) != 1 {
			t.Errorf("with space again: %v", err)
		}
		unmount()
	}
}

func TestRotationOnAFullDisk(t *testing.T) {
	for pages := range 3 { // it runs full at the first, second, third file
		dir, leave, room, unmount := smallDisk(t)
		a := openAuthority(t, AuthorityOptions{Dir: dir})
		old := a.Signing()
		leave(pages)
		_, err := Rotate(RotateOptions{Dir: dir})
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("with %d pages free: %v, want no space left", pages, err)
		}
		if err := a.Reload(); err != nil || !a.Signing().Equal(old) {
			t.Errorf("with %d pages free: the authority is broken: %v", pages, err)
		}
		room()
		if s, err := Rotate(RotateOptions{Dir: dir}); err != nil || s.Phase != PhaseIntroduced {
			t.Fatalf("with space again: %v, %v", s.Phase, err)
		}
		if err := a.Reload(); err != nil || len(a.Roots()) != 2 {
			t.Errorf("%d pages: %d roots, %v; want the old and one new", pages, len(a.Roots()), err)
		}
		unmount()
	}
}

func TestRunNoticesNewFiles(t *testing.T) {
	clock := newFakeClock()
	dir := t.TempDir()
	a := openAuthority(t, AuthorityOptions{Dir: dir, Clock: clock})
	done := make(chan error, 1)
	ctx, cancel := contextOf(t)
	go func() { done <- a.Run(ctx) }()
	if _, err := Rotate(RotateOptions{Dir: dir, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits", func() bool { return clock.next() > 0 })
	clock.Advance(10 * time.Second)
	eventually(t, "both roots are trusted", func() bool { return len(a.Roots()) == 2 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSignRefusesWhatIsNoIdentity(t *testing.T) {
	a := openAuthority(t, AuthorityOptions{})
	_, csr, _ := NewRequest(cart)
	for _, id := range []identity.Identity{{}, {TrustDomain: "cluster.local"}, {TrustDomain: "cluster.local", Namespace: "a/../b", ServiceAccount: "c"}, {TrustDomain: "other", Namespace: "a", ServiceAccount: "b"}} {
		if _, err := a.Sign(csr, id, 0); err == nil {
			t.Errorf("%+v was signed", id)
		}
	}
}
