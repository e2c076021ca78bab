package hbone

// Whose application may send next. A small message goes at once. Who has more to say stands in line: he has a
// turn of so many bytes, and then goes to its tail. Whoever the tunnel itself keeps waiting, because its socket is
// full or the window that its streams share, keeps his place.

// line is a queue of applications, of which each stands in one line at most. Its methods belong to the shard.
type line struct {
	head, tail *app
	n          int
}

func (l *line) push(a *app) {
	a.waits, a.left = true, 0
	if l.tail == nil {
		l.head = a
	} else {
		l.tail.behind = a
	}
	l.tail = a
	l.n++
}

func (l *line) pop() *app {
	a := l.head
	if l.head = a.behind; l.head == nil {
		l.tail = nil
	}
	a.waits, a.behind = false, nil
	l.n--
	return a
}

const (
	// mostTurn is how many bytes an application may send in its turn: what is written at once.
	mostTurn = outSlots * payload
	// heldTurn is the same while small messages pass, which wait behind it.
	heldTurn = heldSlots * payload
	// round is about how many bytes all turns of a line have together, so that many have short ones,
	round = 8 * mostTurn
	// but not shorter than this: a system call is made for each.
	leastTurn = 4 * payload
	// turnsAtOnce is how many of the longest turns a tunnel has before others have theirs.
	turnsAtOnce = 2
)

// fair is how many bytes whoever is at the head of the line may send.
func (t *tunnel) fair() int {
	n := min(mostTurn, max(leastTurn, round/max(1, t.line.n)))
	if t.holding {
		n = min(n, heldTurn)
	}
	if t.shared {
		n = min(n, leastShare)
	}
	return n
}

// budget is how much of the line is served before the shard looks after others.
func (t *tunnel) budget() int {
	if t.holding {
		return heldTurn
	}
	return turnsAtOnce * mostTurn
}

// serve lets those send who wait for it, small messages first.
func (t *tunnel) serve() {
	if t.served != t.sh.turn {
		t.served, t.quota = t.sh.turn, t.budget()
	}
	for t.front.n > 0 {
		if !t.serveHead(&t.front, small) {
			return
		}
	}
	for t.line.n > 0 && t.quota > 0 {
		if !t.serveHead(&t.line, t.fair()) {
			return
		}
	}
	if t.line.n > 0 {
		t.list()
	}
}

// serveHead lets the head of l send, who has a turn of so many bytes if he has none; false: the tunnel takes
// nothing more.
func (t *tunnel) serveHead(l *line, turn int) bool {
	a := l.head
	if a.left <= 0 {
		a.left = turn
	}
	n, next := a.read(a.left)
	a.left -= n
	t.quota -= n
	switch {
	case next == blocked:
		t.mourn()
		return false
	case next == more && a.left > smallMessage:
		return true
	}
	if l.pop(); next == more {
		t.line.push(a)
	}
	a.check()
	return true
}

// mourn notices which of those in line are gone, since nobody will read from them for a while, and lets go of them.
func (t *tunnel) mourn() {
	if !t.failing {
		return
	}
	for _, l := range [2]*line{&t.front, &t.line} {
		for a := l.head; a != nil; a = a.behind {
			a.mourn()
			a.check()
		}
		l.sweep()
	}
	t.failing = false
}

// sweep takes out of l who is gone. The others keep their places and what is left of their turns.
func (l *line) sweep() {
	rest := l.head
	*l = line{}
	for rest != nil {
		a := rest
		rest, a.behind = a.behind, nil
		if a.gone {
			a.waits = false
			continue
		}
		if l.tail == nil {
			l.head = a
		} else {
			l.tail.behind = a
		}
		l.tail = a
		l.n++
	}
}
