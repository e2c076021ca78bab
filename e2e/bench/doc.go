// Command weft-bench measures the mesh as its users run it: real agents, ztunnels, controller and Envoy on two
// simulated nodes, against a direct connection and against peers, in one run.
//
// It raises a lab with a client's pod on node n1 and a server's pod on node n2 in each of three namespaces:
// not enrolled (direct), enrolled (L4), enrolled with a waypoint (L7). Peers are scripts (see peers/README.md)
// that run between the pods of the first. Rounds are interleaved: each goes once through all tests, and in
// each test through all paths, so that a busy machine hits all alike. What is reported is the median and the
// spread; a round whose direct path strays is thrown away for that test, and said so.
//
// CPU is that of the proxies' cgroups (cpu.stat). Work that the kernel does in softirqs for whoever is running
// falls to the wrong account; so the whole machine's busy time (/proc/stat) beyond what the direct path needs
// is given beside it.
package main
