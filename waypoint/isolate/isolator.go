package isolate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
	"github.com/weftmesh/weft/waypoint/verdict"
)

// Options of an Isolator.
type Options struct {
	// Waypoint is namespace/name of the Gateway. Required.
	Waypoint string
	// Config of translation; Refused is the Isolator's own.
	Config translate.Config
	// Publish hands a snapshot to the xDS server, for every pod of the waypoint. Required.
	Publish func(*cache.Snapshot) error
	// OnWord, if set, is told whenever either changes: what translation finds, and what the connected Envoys say, which
	// verdict.Merge makes problems of. It must not call back into the Isolator.
	OnWord func([]translate.Problem, verdict.Word)
	// Current, if set, reports whether every connected Envoy has answered what was published last, be it by
	// a refusal. Then a publication is accepted by its answer, and the next step of one follows it; silence
	// counts only where no answer comes for 8 s.
	Current func() bool
	// Settle is how long a refusal may take to be heard: after a publication, default 500 ms, or with
	// Current after its answer, default 100 ms. A refusal that comes later still is heard, and doubles the
	// time for this waypoint, up to 8 s.
	Settle time.Duration
	// Stage is the time between the steps of one publication, see translate.Resources.Stages. Default 100 ms;
	// with Current 20 ms, after which the answer is waited for.
	Stage time.Duration
	// Connected reports whether any Envoy of the waypoint is connected: only then is silence acceptance.
	// Default: one always is.
	Connected func() bool
	// AfterFunc is the clock. Default time.AfterFunc.
	AfterFunc func(time.Duration, func()) (stop func() bool)
	// Logger, default none.
	Logger *zap.Logger
}

const maxSettle = 8 * time.Second

// Isolator publishes one waypoint's configuration. Safe for concurrent use.
type Isolator struct {
	o Options

	mu       sync.Mutex // protects all below
	m        *machine
	settle   time.Duration
	version  uint64               // last one sent
	since    uint64               // first version of the last publication
	judged   uint64               // last version that silence accepted
	whole    uint64               // last version that was not a step on the way to another
	salts    map[string]uint64    // by type URL: refusals so far
	stop     func() bool          // of the timer of the last publication
	again    func() bool          // of the timer for what is pending; nil none runs
	delay    time.Duration        // of that
	prev     *translate.Resources // sent last, and not refused since; nil none
	underway bool                 // prev is a step to another, which nobody has confirmed yet
	todo     *translate.Resources // came while a step was under way; nil none
	names    serverNames
	of       []translate.Problem // of the last translation
	found    []translate.Problem // those that no Envoy had to say
	said     verdict.Word
	outcome  verdict.Outcome // of said alone
	closed   bool
}

// New makes an Isolator. It publishes nothing before the first Set.
func New(o Options) (*Isolator, error) {
	if o.Waypoint == "" || o.Publish == nil {
		return nil, errors.New("isolate: Waypoint and Publish are needed")
	}
	settle, stage := 500*time.Millisecond, 100*time.Millisecond
	if o.Current != nil {
		settle, stage = 100*time.Millisecond, 20*time.Millisecond
	}
	o.Settle, o.Stage = cmp.Or(o.Settle, settle), cmp.Or(o.Stage, stage)
	if o.AfterFunc == nil {
		o.AfterFunc = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	if o.Connected == nil {
		o.Connected = func() bool { return true }
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Isolator{o: o, m: newMachine(), settle: o.Settle, salts: map[string]uint64{}, names: serverNames{left: map[string]int{}}, stop: func() bool { return true }}, nil
}

// Close stops the timers. Nothing is published afterwards.
func (i *Isolator) Close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.stop()
	if i.again != nil {
		i.again()
	}
}

// Set publishes a new snapshot, or, while a culprit is being searched, remembers it for the end of that.
func (i *Isolator) Set(s *model.Snapshot) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m.set(s) {
		return i.publish()
	}
	return nil
}

// Configure replaces the translation's Config, e.g. when the waypoint's pods got other addresses. The
// next Set uses it.
func (i *Isolator) Configure(c translate.Config) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.o.Config = c
}

// Sent reports whether what was Set last has been published to its last stage.
func (i *Isolator) Sent() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.m.next == nil && i.todo == nil && i.whole == i.version
}

// Problems lists what is wrong right now, as far as it is known here.
func (i *Isolator) Problems() []translate.Problem {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Concat(i.found, i.outcome.Problems)
}

// Nack takes a refusal by one of the waypoint's Envoys: version is that of the snapshot it was sent. It
// translates and publishes before it returns, so a callback that must not block calls it from elsewhere.
func (i *Isolator) Nack(typeURL, version, detail string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	v, ok := parseVersion(version)
	if i.closed || !ok || v > i.version {
		return nil // of an Isolator before us: what it had published is sent anew anyway
	}
	if w, ok := trial.ReadWithheld(detail); ok {
		return i.withheld(typeURL, v, w, detail)
	}
	if searching := i.m.phase == holding || i.m.phase == releasing; searching && v < i.since || v < i.judged {
		return nil // another pod's word on what is judged already
	}
	if v == i.judged {
		i.settle = min(2*i.settle, maxSettle)
		i.o.Logger.Warn("a refusal came late, waiting longer from now on", zap.String("waypoint", i.o.Waypoint), zap.Duration("settle", i.settle))
	}
	i.o.Logger.Warn("Envoy refuses configuration, looking for the cause", zap.String("waypoint", i.o.Waypoint), zap.String("type", typeURL), zap.String("reason", detail))
	i.salts[typeURL]++
	i.prev, i.todo, i.underway = nil, nil, false
	if i.m.nack(typeURL, detail) {
		return i.publish()
	}
	return nil
}

// publish is called with the lock held.
func (i *Isolator) publish() error {
	if i.closed {
		return nil
	}
	snap, refused := i.m.effective()
	cfg := i.o.Config
	cfg.Refused, cfg.Lately = refused, i.names.lately()
	res, problems := translate.Translate(snap, i.o.Waypoint, cfg)
	if i.lose(res.ServerNames()) {
		cfg.Lately = i.names.lately()
		res, problems = translate.Translate(snap, i.o.Waypoint, cfg)
	}
	i.m.sources = res.Sources
	i.since = i.version + 1
	i.of = problems
	var err error
	if i.underway { // what it brings may not be there yet: see pause
		i.todo = res
	} else {
		err = i.advance(res.Stages(i.prev))
	}
	i.tell()
	return err
}

// tell brings up to date what is known. With the lock held.
func (i *Isolator) tell() {
	found, said := i.word()
	here := verdict.Objects{
		Patches: Patches(i.m.desired, i.o.Waypoint),
		Version: func(src translate.Source) string { return Version(i.m.desired, src) },
		Ready:   func() bool { return i.o.Connected() || Ready(i.m.desired, i.o.Waypoint) },
	}
	i.outcome = verdict.Merge([]verdict.Word{said}, here, i.outcome)
	if slices.Equal(found, i.found) && said.Equal(i.said) {
		return
	}
	i.found, i.said = found, said
	if i.o.OnWord != nil {
		i.o.OnWord(found, said)
	}
}

// advance sends the first stage, and the others after it.
func (i *Isolator) advance(stages []*translate.Resources) error {
	if err := i.send(stages[0]); err != nil {
		i.prev, i.todo, i.underway = nil, nil, false // the next configuration is sent whole
		return err
	}
	i.prev, i.underway = stages[0], len(stages) > 1
	if !i.underway {
		i.whole = i.version
		i.listen(wait{witness: i.o.Connected()})
		return nil
	}
	i.pause(stages[1:], 0)
	return nil
}

// pause lets Envoy take a stage before the next is sent, or, where something else is to be published by then, before
// the first stage of the way to that.
func (i *Isolator) pause(rest []*translate.Resources, waited time.Duration) {
	version := i.version
	i.stop = i.o.AfterFunc(i.o.Stage, func() {
		answered := i.answered() || waited >= maxSettle
		i.mu.Lock()
		defer i.mu.Unlock()
		if version != i.version || i.closed {
			return
		}
		if !answered {
			i.pause(rest, waited+i.o.Stage)
			return
		}
		if i.todo != nil {
			rest, i.todo = i.todo.Stages(i.prev), nil
		}
		if err := i.advance(rest); err != nil {
			i.o.Logger.Error("waypoint not configured", zap.Error(err))
		}
	})
}

// answered reports whether Envoy has had its say, as far as anybody can tell. Without the lock held.
func (i *Isolator) answered() bool { return i.o.Current == nil || i.o.Current() }

// send is called with the lock held.
func (i *Isolator) send(res *translate.Resources) error {
	i.stop()
	i.version++
	out, err := i.snapshot(res)
	if err != nil {
		return err
	}
	if err := i.o.Publish(out); err != nil {
		return fmt.Errorf("publish the configuration of waypoint %s: %w", i.o.Waypoint, err)
	}
	return nil
}

// wait is what is known while refusals of the last publication are waited for.
type wait struct {
	witness  bool          // somebody was connected when the time began
	answered bool          // by then everybody had answered
	time     time.Duration // since somebody is connected
}

// listen waits for refusals of the last publication.
func (i *Isolator) listen(w wait) {
	i.stop()
	version := i.version
	i.stop = i.o.AfterFunc(i.settle, func() { i.settled(version, w) })
}

func (i *Isolator) settled(version uint64, w wait) {
	connected, answered := i.o.Connected(), i.answered()
	i.mu.Lock()
	defer i.mu.Unlock()
	if version != i.version || i.closed {
		return
	}
	if !w.witness || !connected {
		i.listen(wait{witness: connected})
		return
	}
	w.time += i.settle
	if i.o.Current != nil && (!answered || !w.answered) && w.time < maxSettle {
		i.listen(wait{witness: true, answered: answered, time: w.time})
		return
	}
	i.judged = version
	if len(i.m.pending()) == 0 {
		i.delay = 0
	}
	if i.m.settled() {
		if err := i.publish(); err != nil {
			i.o.Logger.Error("waypoint not configured", zap.Error(err))
		}
		return
	}
	i.tell()
}

// snapshot versions each resource by its content and, where its type was refused, the number of refusals:
// what Envoy may have dropped with a refused response has to be sent again.
func (i *Isolator) snapshot(res *translate.Resources) (*cache.Snapshot, error) {
	out, err := res.Cache(versionPrefix + fmt.Sprint(i.version))
	if err != nil {
		return nil, err
	}
	if len(i.salts) == 0 {
		return out, nil
	}
	out.VersionMap = map[string]map[string]string{}
	for typeURL, list := range res.ByType() {
		versions := make(map[string]string, len(list))
		for _, r := range list {
			b, err := cache.MarshalResource(r)
			if err != nil {
				return nil, fmt.Errorf("version %s of waypoint %s: %w", cache.GetResourceName(r), i.o.Waypoint, err)
			}
			versions[cache.GetResourceName(r)] = cache.HashResource(b) + salt(i.salts[typeURL])
		}
		out.VersionMap[typeURL] = versions
	}
	return out, nil
}

func salt(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("~%d", n)
}

const versionPrefix = "wp-"

func parseVersion(s string) (uint64, bool) {
	var v uint64
	n, err := fmt.Sscanf(s, versionPrefix+"%d", &v)
	return v, err == nil && n == 1
}
