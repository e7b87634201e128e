// A static map: libbpf wants them global.
#include "bpf.h"
static struct { NUMBER(type, 1); NUMBER(max_entries, 3); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
SEC("socket") int one(void *context) { u32 key = 0; return map_lookup(&counts, &key) != 0; }
