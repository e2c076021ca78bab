// Package handover passes what a process owns, state and descriptors, to its successor: a protocol between two
// processes of one machine. It knows nothing of what it passes. The old process calls Serve with a Giver, the
// new one Take with a Taker; when Take fails, the new one starts as if there were no old one, which goes on as
// if nobody had asked.
//
//	successor              predecessor
//	hello          ───►    who are you? which version?
//	               ◄───    welcome, with the token
//	                       Freeze
//	               ◄───    state, descriptors (each batch is acknowledged)
//	Prepare
//	takes the token
//	ready          ───►    Drop: the keys are forgotten
//	               ◄───    go
//	Run
//	running        ───►    Done
//
// Who owns is decided by the token and nothing else: an eventfd with the value 1, of which the kernel lets one
// read succeed. The successor reads it as its last act before it owns, the predecessor before it goes on after
// all (Thaw). So at whatever step either of them dies, is stopped, or is woken up after hours, there are never
// two owners. Up to there all that goes wrong ends in Thaw. From there on what fails is the successor's: if it
// dies, its connections end by a reset, as those of every process that dies, and the predecessor, told by Lost,
// has its listeners left.
//
// The folder of the socket belongs to the user of both processes alone. Each looks at the other by the socket's
// credentials: it must have the same user, and be allowed by Options.Allow. State is never written to a file,
// and wiped once it is sent.
package handover
