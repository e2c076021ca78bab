/* the generic byte swaps of linux/swab.h do */
