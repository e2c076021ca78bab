// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The four programs of one pod. */
#include "guard.h"
#include "probe.h"
#include "inbound.h"
#include "lookup.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
