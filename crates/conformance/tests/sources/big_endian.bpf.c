// flags: -target bpfeb
// The other byte order: the table is readable, the instructions are not this machine's.
#include "bpf.h"
struct { NUMBER(type, 1); NUMBER(max_entries, 300); TYPE(key, u32); TYPE(value, u64); } counts SEC(".maps");
u32 start = 0x01020304;
SEC("xdp") int one(void *context) { u32 key = start; return map_lookup(&counts, &key) != 0; }
SEC("?tc") int two(void *context) { return 2; }
