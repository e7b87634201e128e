// flags: -g0
// No BTF: programs and data sections without maps.
#include "bpf.h"
u64 counter;
static NOINLINE u64 twice(u64 value) { return value * 2; }
SEC("xdp") int count(void *context) { return twice(counter++); }
