package bpf

import "testing"

func TestRelax(t *testing.T) {
	l := newLab(t)
	p1, r := l.pods["p1"], l.pods["r"]
	l.start("echo", p1.ns, "pod-p1", nil, ":8080")
	l.start("echo", r.ns, "pod-r", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	check := func(what string, direct bool) {
		t.Helper()
		before := l.counters("p1")
		in := l.dial("r", p1.at(8080, false))
		out := l.dial("p1", r.at(8080, false))
		after := l.counters("p1")
		if !in.OK || !out.OK {
			t.Fatalf("%s: in %+v, out %+v", what, in, out)
		}
		if through := after[RedirectedInbound] > before[RedirectedInbound]; through == direct {
			t.Errorf("%s: plaintext in went through the ztunnel: %v", what, through)
		}
		if after[RedirectedOutbound] == before[RedirectedOutbound] {
			t.Errorf("%s: outbound was not captured", what)
		}
	}
	check("enrolled", false)
	for range 2 {
		must(t, l.r.Relax())
		check("relaxed", true)
	}
	must(t, l.r.Close()) // the agent is killed in the middle
	l.open()
	check("relaxed, with a successor", true)
	l.enrol(z, "p1")
	check("enrolled again", false)
	must(t, l.r.Relax())
	must(t, l.r.Unenrol("p1"))
	if o := l.dial("r", p1.at(8080, false)); !o.OK {
		t.Errorf("unenrolled: %+v", o)
	}
}
