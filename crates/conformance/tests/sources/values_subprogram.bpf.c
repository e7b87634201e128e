// A table of programs that is to hold a subprogram from the start.
#include "bpf.h"
NOINLINE int helper(void *context) { return 1; }
struct { NUMBER(type, 3); NUMBER(max_entries, 2); NUMBER(key_size, 4); int (*values[])(void *); } table SEC(".maps") = { .values = { helper } };
SEC("socket") int use(void *context) { tail_call(context, &table, 0); return helper(context); }
