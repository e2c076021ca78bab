// Package balance chooses the endpoints of connections, and keeps what a ztunnel has seen of endpoints: how many of
// its connections they carry, since when they are there, how often they could not be reached.
//
// Where a service has no Carriage, of two near and healthy endpoints at random the one with fewer connections is
// taken, nothing is limited and nobody is ejected; that costs two looks at the candidates and one lock.
package balance

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
)

// Balancer of one ztunnel. Make one with New; its methods are safe for concurrent use.
type Balancer struct {
	now   func() time.Time
	roll  func() float64 // in [0,1)
	loads loads[string]  // by workload uid
	held  loads[Port]    // connections to services that limit them
	ill   ejections
	young young

	mu    sync.Mutex // protects turns
	turns map[Port]int
}

// Port is a service, or the port of one that is carried in its own way.
type Port struct {
	Service string // Service.Key()
	Port    uint16 // Carriage.Port
}

// PortOf names what a carriage is of.
func PortOf(s *model.Service, how *model.Carriage) Port { return Port{s.Key(), how.Port} }

// New makes a balancer. A nil clock is the machine's.
func New(now func() time.Time) *Balancer {
	if now == nil {
		now = time.Now
	}
	return &Balancer{now: now, roll: rand.Float64, ill: ejections{now: now}, young: young{now: now}, turns: map[Port]int{}}
}

// Carry counts a connection to w until the returned function is called, once. It refuses one more than limit; 0 is
// no limit.
func (b *Balancer) Carry(w *model.Workload, limit uint32) (end func(), ok bool) {
	return b.loads.enter(w.UID, limit)
}

// Enter counts a connection to a service until the returned function is called, once. It refuses one more than limit.
func (b *Balancer) Enter(p Port, limit uint32) (leave func(), ok bool) { return b.held.enter(p, limit) }

// Pick chooses one of candidates, which are endpoints of svc, for a client; nil if none will do.
func (b *Balancer) Pick(svc *model.Service, how *model.Carriage, client *model.Workload, candidates []*model.Workload) *model.Workload {
	if how == nil {
		return b.lessBusy(svc, client, candidates)
	}
	best := index.Best(svc, client, b.fit(svc, how, candidates))
	switch {
	case len(best) < 2:
		return one(best)
	case how.Balance == nil:
		return b.ofTwo(best, nil)
	case how.Balance.Hash != nil:
		return byHash(best, client, how.Balance.Hash)
	case how.Balance.Algorithm == model.RoundRobin:
		return b.inTurn(PortOf(svc, how), best, how.Balance.SlowStart)
	case how.Balance.Algorithm == model.RandomEndpoint:
		return best[rand.IntN(len(best))]
	}
	return b.ofTwo(best, how.Balance.SlowStart)
}

func one(list []*model.Workload) *model.Workload {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// lessBusy takes of two at random the one with fewer connections, and allocates nothing. That keeps long
// connections even where chance alone would not.
func (b *Balancer) lessBusy(svc *model.Service, client *model.Workload, candidates []*model.Workload) *model.Workload {
	var first, of int
	x := index.Pick(svc, client, candidates, func(n int) int {
		first, of = rand.IntN(n), n
		return first
	})
	if of < 2 {
		return x
	}
	y := index.Pick(svc, client, candidates, func(n int) int { return (first + 1 + rand.IntN(n-1)) % n })
	if b.loads.of(y.UID) < b.loads.of(x.UID) {
		return y
	}
	return x
}

// fit leaves out who is ejected, but never all, and who has as many connections as he may.
func (b *Balancer) fit(svc *model.Service, how *model.Carriage, candidates []*model.Workload) []*model.Workload {
	if how.Outliers != nil && b.ill.some() {
		well := slices.DeleteFunc(slices.Clone(candidates), func(w *model.Workload) bool { return b.ill.out(svc.Key(), w.UID) })
		if slices.ContainsFunc(well, func(w *model.Workload) bool { return !w.Unhealthy || svc.PublishNotReady }) {
			candidates = well
		}
	}
	if limit := how.PerEndpoint(); limit > 0 {
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(w *model.Workload) bool { return b.loads.of(w.UID) >= int(limit) })
	}
	return candidates
}

// ofTwo takes of two at random the one with fewer connections for its weight.
func (b *Balancer) ofTwo(best []*model.Workload, s *model.SlowStart) *model.Workload {
	i := rand.IntN(len(best))
	j := (i + 1 + rand.IntN(len(best)-1)) % len(best)
	busy := func(w *model.Workload) float64 { return float64(b.loads.of(w.UID)+1) / b.weight(w, s) }
	if busy(best[j]) < busy(best[i]) {
		return best[j]
	}
	return best[i]
}

// inTurn takes one after the other; who has just come is passed over now and then.
func (b *Balancer) inTurn(p Port, best []*model.Workload, s *model.SlowStart) *model.Workload {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.turns) > maxTurns {
		clear(b.turns) // of services that are long gone, mostly
	}
	for range 2 * len(best) {
		w := best[b.turns[p]%len(best)]
		b.turns[p]++
		if s == nil || b.roll() < b.weight(w, s) {
			return w
		}
	}
	return best[b.turns[p]%len(best)]
}

const maxTurns = 1 << 14

var seed = maphash.MakeSeed()

// byHash takes the endpoint that gives the highest number with the caller: when another one comes or goes, only
// the callers that it takes or had are moved. Each ztunnel may decide differently, for it decides for its own pods.
func byHash(best []*model.Workload, client *model.Workload, by *model.Hash) *model.Workload {
	key := client.Identity().String()
	if !by.Identity && len(client.Addresses) > 0 {
		key = client.Addresses[0].String()
	}
	var chosen *model.Workload
	var highest uint64
	for _, w := range best {
		if n := maphash.String(seed, key+" "+w.UID); chosen == nil || n > highest {
			chosen, highest = w, n
		}
	}
	return chosen
}

// weight is the share of its full load that an endpoint gets now, above 0.
func (b *Balancer) weight(w *model.Workload, s *model.SlowStart) float64 {
	if s == nil || s.Window <= 0 {
		return 1
	}
	age, is := b.young.age(w.UID)
	if !is || age >= s.Window {
		return 1
	}
	grown := math.Pow(float64(age)/float64(s.Window), 1/s.Aggression)
	return max(grown, float64(max(s.MinPercent, 1))/100)
}
