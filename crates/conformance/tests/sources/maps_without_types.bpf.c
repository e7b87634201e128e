// flags: -g0
// Maps are told by their types; without types there is nothing to tell.
#include "bpf.h"
struct { NUMBER(type, 1); NUMBER(max_entries, 3); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
SEC("xdp") int one(void *context) { u32 key = 0; return map_lookup(&counts, &key) != 0; }
