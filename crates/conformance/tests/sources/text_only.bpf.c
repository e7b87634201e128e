// Functions in `.text` and nowhere else: an object of subprograms, with no program to load.
#include "bpf.h"
NOINLINE u64 one(u64 value) { return value + 1; }
NOINLINE u64 two(u64 value) { return one(value) * 2; }
