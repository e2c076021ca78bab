//go:build race

package record

import (
	"crypto/sha256"
	"fmt"
	"sync"
)

// witnessed holds, for each key that this process has sealed with, the number that is next. It is kept where
// the race detector is, which is where all our tests run.
var witnessed = struct {
	sync.Mutex
	next map[[sha256.Size]byte]uint64
}{next: map[[sha256.Size]byte]uint64{}}

// witness panics where a key would meet a nonce again.
func witness(k *keys) {
	id := sha256.Sum256(k.secret)
	witnessed.Lock()
	defer witnessed.Unlock()
	if k.seq < witnessed.next[id] {
		panic(fmt.Sprintf("record: key and number %d are used twice", k.seq))
	}
	witnessed.next[id] = k.seq + 1
}
