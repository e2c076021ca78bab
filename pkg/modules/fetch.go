package modules

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
)

// MaxBytes of a module.
const MaxBytes = 8 << 20

// Magic begins every module.
const Magic = "\x00asm"

// errLinkLocal keeps objects from having the controller look at what a machine's provider tells it alone.
var errLinkLocal = errors.New("addresses of the local link are not asked for modules")

func defaultClient() *http.Client {
	dialer := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		if ap, err := netip.ParseAddrPort(address); err == nil && ap.Addr().Unmap().IsLinkLocalUnicast() {
			return errLinkLocal
		}
		return nil
	}}
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DialContext: dialer.DialContext},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= 5 || r.URL.Scheme != "https" {
				return errors.New("redirected too often, or away from https")
			}
			return nil
		},
	}
}

// once fetches a module and compares it with what was asked for.
func (f *Fetcher) once(ctx context.Context, l Location) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var code []byte
	var err error
	if l.Image != "" {
		code, err = fetchImage(ctx, f.o.Client, l.Image)
	} else {
		code, err = fetchURL(ctx, f.o.Client, l.URL)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(code, []byte(Magic)) {
		return nil, fmt.Errorf("what is at %s is no WebAssembly", l.URL+l.Image)
	}
	if sum := sha256.Sum256(code); hex.EncodeToString(sum[:]) != l.SHA256 {
		return nil, fmt.Errorf("the SHA-256 of what is at %s is %x", l.URL+l.Image, sum)
	}
	return code, nil
}

func fetchURL(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, res.Status)
	}
	return bounded(res.Body)
}

// bounded reads all, if that is not too much.
func bounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("it is larger than %d MiB", MaxBytes>>20)
	}
	return data, err
}
