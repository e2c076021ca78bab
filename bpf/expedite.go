package bpf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// expediteFile has the kernel hurry its grace periods. Attaching to a network device waits for one with the lock
// of all devices held, some 15 ms at 250 Hz and three times a pod: a namespace of 50 pods takes seconds, one after
// the other. Hurried, they take a tenth and interrupt every busy CPU, so it is for that moment only.
const expediteFile = "/sys/kernel/rcu_expedited"

// expediteFrom is how many pods are changed at once when it pays.
const expediteFrom = 3

// expedite counts changes under way and hurries the kernel while there are many.
type expedite struct {
	file   string // expediteFile, but for tests
	marker string // folder on the bpffs that is there while the file says what we wrote; a successor puts it back
	log    *zap.Logger

	mu sync.Mutex // protects what follows
	n  int        // changes under way
	on bool
}

// begin counts a change; call the result when it is done.
func (e *expedite) begin() (end func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.n++
	if e.n == expediteFrom && !e.on {
		e.set()
	}
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.n--; e.n == 0 && e.on {
			e.reset()
		}
	}
}

// set leaves it alone where somebody else, or nothing at all, decides it: it is only for speed.
func (e *expedite) set() {
	b, err := os.ReadFile(e.file)
	if err != nil || strings.TrimSpace(string(b)) != "0" {
		return
	}
	if err := os.Mkdir(e.marker, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return
	}
	if err := os.WriteFile(e.file, []byte("1"), 0o644); err != nil {
		_ = os.Remove(e.marker) // a later start removes it as well
		return
	}
	e.on = true
}

func (e *expedite) reset() {
	if err := os.WriteFile(e.file, []byte("0"), 0o644); err != nil {
		e.log.Warn("the kernel goes on to hurry its grace periods", zap.String("file", e.file), zap.Error(err))
		return
	}
	e.on = false
	_ = os.Remove(e.marker) // as above
}

// recover puts back what a predecessor left that was killed meanwhile.
func (e *expedite) recover() {
	if _, err := os.Stat(e.marker); err == nil {
		e.reset()
	}
}

func newExpedite(root string, log *zap.Logger) *expedite {
	return &expedite{file: expediteFile, marker: filepath.Join(root, "expedited"), log: log}
}
