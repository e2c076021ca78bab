/* The UAPI headers want an architecture; BPF is one of its own. */
#include <asm-generic/types.h>
