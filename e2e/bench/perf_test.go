package main

import (
	"math"
	"testing"
)

func TestWhatPerfSays(t *testing.T) {
	got := kernelShares(`# Overhead  Symbol
    30.00%  [k] rep_movs_alternative
    20.00%  [.] gcmAesEnc
     7.50%  [k] tcp_sendmsg_locked
     2.50%  [k] ip_queue_xmit
     1.00%  [k] nobody_knows
`)
	for kind, want := range map[string]float64{"copying bytes": .3, "TCP and IP": .1, "other": .01} {
		if math.Abs(got[kind]-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", kind, got[kind], want)
		}
	}
	calls := callCounts("120,,syscalls:sys_enter_read,100,100.00,,\n<not counted>,,syscalls:sys_enter_writev,0,100.00,,\n0,,syscalls:sys_enter_futex,1,1,,\n")
	if len(calls) != 1 || calls["read"] != 120 {
		t.Errorf("%v", calls)
	}
	if got := joined([]int{7, 12}); got != "7,12" {
		t.Errorf("%q", got)
	}
}
