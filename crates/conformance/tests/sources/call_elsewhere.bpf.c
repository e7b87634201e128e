// A call from one program section into another.
#include "bpf.h"
SEC("tc") NOINLINE int callee(void *context) { return 1; }
SEC("xdp") int caller(void *context) { return callee(context) + 1; }
